"""The configs of `CosineDPMSolverMultistepScheduler` and `EDMDPMSolverMultistepScheduler`, as of Stable Audio.

Both add ``sigma`` times noise to x0. Divided by ``sqrt(1 + sigma^2)``, that is the path of the cosine schedule with
``tan(pi t / 2) = sigma``: Stable Audio predicts v on it, and reads t itself. So the schedule is `Cosine` for both.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from multidiff.diffusion.predictions import EDM, Prediction
from multidiff.errors import InputError
from multidiff.pretrained.scheduler import COMPATIBLE, multistep

DEFAULTS: dict[str, dict[str, Any]] = {
    "CosineDPMSolverMultistepScheduler": {
        **{"sigma_min": 0.3, "sigma_max": 500.0, "sigma_data": 1.0, "sigma_schedule": "exponential"},
        **{"prediction_type": "v_prediction", "algorithm_type": "sde-dpmsolver++"},
    },
    "EDMDPMSolverMultistepScheduler": {
        **{"sigma_min": 0.002, "sigma_max": 80.0, "sigma_data": 0.5, "sigma_schedule": "karras"},
        **{"prediction_type": "epsilon", "algorithm_type": "dpmsolver++"},
    },
}
"""Settings by the class of the scheduler, where a config does not state them."""

COMMON = {"rho": 7.0, "solver_order": 2, "solver_type": "midpoint"}

CHOICES = {
    "sigma_schedule": ("exponential", "karras"),
    "prediction_type": ("v_prediction", "epsilon"),
    "algorithm_type": ("dpmsolver++", "sde-dpmsolver++"),
    "solver_order": (1, 2),
    "solver_type": ("midpoint", "heun"),
}


class EDMVelocity(EDM):
    """EDM's preconditioning of a network whose output has the opposite sign; for ``sigma_data = 1`` that is v."""

    def target(self, x0: Tensor, noise: Tensor, a: Tensor, s: Tensor) -> Tensor:
        return -super().target(x0, noise, a, s)

    def to_x0(self, output: Tensor, x_t: Tensor, a: Tensor, s: Tensor) -> Tensor:
        return super().to_x0(-output, x_t, a, s)


def is_logarithmic(config: Mapping[str, Any]) -> bool:
    """Whether the network reads ``log(sigma) / 4``, as EDM's do, instead of t."""
    return config.get("_class_name") == "EDMDPMSolverMultistepScheduler"


def edm_prediction(config: Mapping[str, Any]) -> Prediction:
    """What a scheduler config says that the network predicts.

    Raises:
        InputError: the scheduler is of another kind, or has a setting without a counterpart.
    """
    settings = _settings(config)
    kind = EDMVelocity if settings["prediction_type"] == "v_prediction" else EDM
    return kind(float(settings["sigma_data"]))


def edm_sampler(config: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """The sampler of a scheduler config, on the noise levels that diffusers visits; it ends at zero noise.

    Args:
        config: of the scheduler.
        steps: number of steps by default.

    Raises:
        InputError: as `edm_prediction`.
    """
    settings = _settings(config)
    eta = 1.0 if settings["algorithm_type"].startswith("sde-") else 0.0
    method = multistep(settings["solver_order"], settings["solver_type"], eta)
    grid: dict[str, Any] = {"_target_": "multidiff.diffusion.grids.UniformLogSNR"}
    if settings["sigma_schedule"] == "karras":
        grid = {"_target_": "multidiff.diffusion.grids.KarrasRho", "rho": float(settings["rho"])}
    grid |= {name: float(settings[name]) for name in ("sigma_min", "sigma_max")}
    return {"name": COMPATIBLE, "steps": steps, "method": method, "grid": grid}


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    name = config.get("_class_name")
    if name not in DEFAULTS:
        raise InputError(f"this family is sampled by a {' or '.join(DEFAULTS)}, got {name}")
    if config.get("thresholding"):
        raise InputError("thresholding is not supported: latents are not limited; set it to false")
    settings = {**COMMON, **DEFAULTS[name], **config}
    for setting, choices in CHOICES.items():
        if settings[setting] not in choices:
            raise InputError(f"{setting} is {' or '.join(map(str, choices))}, got {settings[setting]!r}")
    if not float(settings["sigma_data"]) > 0:
        raise InputError(f"sigma_data is above 0, got {settings['sigma_data']}")
    return settings
