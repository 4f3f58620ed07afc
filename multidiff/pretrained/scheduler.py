"""A scheduler config as a schedule, a prediction, and a sampler on the published timesteps."""

from collections.abc import Mapping
from typing import Any

from multidiff.diffusion.discrete import Betas, CosineBetas, LinearBetas, ScaledLinearBetas
from multidiff.diffusion.predictions import Epsilon, Prediction, Sample, Velocity
from multidiff.errors import InputError

COMPATIBLE = "compatible"
"""Name of the sampler that follows the pipeline's own scheduler, on the timesteps that diffusers would visit."""

PREDICTIONS: dict[str, type[Prediction]] = {"epsilon": Epsilon, "v_prediction": Velocity, "sample": Sample}

_SAMPLERS = "multidiff.diffusion.samplers"


def multistep(order: int = 2, kind: str = "midpoint", eta: float = 0.0) -> dict[str, Any]:
    """The method of DPM-Solver++ in multistep form that diffusers calls by ``solver_order`` and ``solver_type``.

    Args:
        order: 1 to 3; above 2, ``kind`` makes no difference.
        kind: "midpoint", which replaces a moment by h / 2, or "heun", which integrates exactly.
        eta: 0 for the ODE, 1 for the SDE.

    Raises:
        InputError: one of them is not known.
    """
    if order not in (1, 2, 3) or kind not in ("midpoint", "heun"):
        raise InputError(f"solver_order is 1 to 3 and solver_type midpoint or heun, got {order!r} and {kind!r}")
    if kind == "midpoint" and order < 3:
        return {"_target_": f"{_SAMPLERS}.UniPC", "predictor_order": order, "corrector": False, "eta": eta}
    return {"_target_": f"{_SAMPLERS}.DPMSolverMultistep", "order": order, "eta": eta}


METHODS: dict[str, dict[str, Any]] = {
    "DDIMScheduler": {"_target_": f"{_SAMPLERS}.DDIM"},
    "DDPMScheduler": {"_target_": f"{_SAMPLERS}.DDPM"},
    "EulerDiscreteScheduler": {"_target_": f"{_SAMPLERS}.Euler"},
    "EulerAncestralDiscreteScheduler": {"_target_": f"{_SAMPLERS}.DDIM", "eta": 1.0},
    "HeunDiscreteScheduler": {"_target_": f"{_SAMPLERS}.Heun"},
    "UniPCMultistepScheduler": {**multistep(), "corrector": True},
}
"""Methods by the class of the scheduler; any other one is sampled by DPM-Solver++(2M)."""

FEW_STEPS, STEPS = 25, 50
"""Default number of steps of methods of second order, and of first."""

SPARE = ("DPMSolverMultistepScheduler", "UniPCMultistepScheduler")
"""Schedulers that place one more timestep than they visit."""

FRACTIONS = ("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler")
"""Schedulers that do not round "linspace" timesteps."""

SPACINGS = {"PNDMScheduler": "leading", "DDIMScheduler": "leading", "DDPMScheduler": "leading"}
"""Spacing of timesteps where the config does not state it; "linspace" for others."""


def schedule_of(config: Mapping[str, Any]) -> Betas:
    """The schedule that a scheduler config describes, with its timesteps at their exact noise levels.

    Raises:
        InputError: the betas are of a kind that is not known.
    """
    kind, count = config.get("beta_schedule", "linear"), config.get("num_train_timesteps", 1000)
    start, end = config.get("beta_start", 0.0001), config.get("beta_end", 0.02)
    if type(count) is not int or not 2 <= count <= 100_000:
        raise InputError(f"num_train_timesteps is a number from 2 to 100000, got {count!r}")
    zero = bool(config.get("rescale_betas_zero_snr", False))
    if config.get("trained_betas") is not None:
        return Betas(config["trained_betas"], zero)
    if kind == "linear":
        return LinearBetas(start, end, count, zero)
    if kind == "scaled_linear":
        return ScaledLinearBetas(start, end, count, zero)
    if kind == "squaredcos_cap_v2":
        return CosineBetas(count, zero)
    raise InputError(f"beta_schedule is scaled_linear, linear or squaredcos_cap_v2, got {kind!r}")


def prediction_of(config: Mapping[str, Any]) -> Prediction:
    """What a scheduler config says that the network predicts.

    Raises:
        InputError: that is not known.
    """
    kind = config.get("prediction_type", "epsilon")
    if kind not in PREDICTIONS:
        raise InputError(f"prediction_type is {', '.join(PREDICTIONS)}, got {kind!r}")
    return PREDICTIONS[kind]()


def sampler_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The sampler that a scheduler config describes, on the timesteps that diffusers visits.

    Raises:
        InputError: the config has a setting that would change the samples and has no counterpart.
    """
    for setting in ("thresholding", "clip_sample"):
        if config.get(setting):
            raise InputError(f"{setting} is not supported: latents are not limited; set it to false")
    name = config["_class_name"]
    method = METHODS.get(name) or multistep()
    if name == "DPMSolverMultistepScheduler":
        eta = 1.0 if str(config.get("algorithm_type", "")).startswith("sde-") else 0.0
        method = multistep(config.get("solver_order", 2), config.get("solver_type", "midpoint"), eta)
    first = method["_target_"].split(".")[-1] in ("DDIM", "DDPM", "Euler")
    return {"name": COMPATIBLE, "steps": STEPS if first else FEW_STEPS, "method": method, "grid": _grid(name, config)}


def _grid(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The timesteps of the scheduler ``name``."""
    if config.get("use_karras_sigmas"):
        return {"_target_": "multidiff.diffusion.grids.KarrasRho", "sigma_min": 1e-3, "sigma_max": 1e3}  # clipped
    spacing = config.get("timestep_spacing") or SPACINGS.get(name, "linspace")
    settings = {"train_steps": config.get("num_train_timesteps", 1000)}
    if spacing == "trailing":
        return {"_target_": "multidiff.diffusion.grids.Trailing", **settings}
    settings["spare"] = int(name in SPARE)
    if spacing == "leading":
        offset = config.get("steps_offset", 0)
        return {"_target_": "multidiff.diffusion.grids.Leading", **settings, "offset": offset}
    if spacing != "linspace":
        raise InputError(f"timestep_spacing is leading, linspace or trailing, got {spacing!r}")
    return {"_target_": "multidiff.diffusion.grids.Linspaced", **settings, "whole": name not in FRACTIONS}
