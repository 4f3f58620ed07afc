"""How samples are drawn: a sampler's config, which travels with a model, and the guidance."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from multidiff.configuration import group_options, load_option
from multidiff.diffusion.denoiser import Denoiser
from multidiff.diffusion.noise import sample_seeds
from multidiff.errors import InputError

SAMPLER_PARTS = {"name", "steps", "method", "grid"}
MAX_STEPS = 100_000

Guide = float | Callable[[Denoiser], Denoiser]
"""The scale of guidance, 1 being off; or, from Python, any guidance at all, as a function of the denoiser."""


@dataclass(frozen=True)
class Sampling:
    """How samples are drawn.

    Attributes:
        sampler: a config of the group ``sampler``: its name, method, grid and number of steps.
        guidance: its scale, or what makes a guided denoiser.
        rule: a config of the group ``guidance_rule``: what the scale means.
        negative: a label or a prompt from which guidance leads away; None for the null condition.
    """

    sampler: Mapping[str, Any]
    guidance: Guide = 1.0
    rule: Mapping[str, Any] = field(default_factory=lambda: load_option("guidance_rule", "cfg"))
    negative: str | None = None

    def __post_init__(self) -> None:
        steps = self.sampler["steps"]
        if type(steps) is not int or not 1 <= steps <= MAX_STEPS:
            name = self.sampler["name"]
            raise InputError(f"sampler {name}: steps must be an integer from 1 to {MAX_STEPS}, got {steps!r}")

    def changed(
        self,
        *,
        sampler: str | None = None,
        steps: int | None = None,
        guidance: Guide | None = None,
        guidance_rule: str | None = None,
        negative: str | int | None = None,
    ) -> "Sampling":
        """This with another sampler, which brings its own steps, or other settings; None changes nothing.

        Raises:
            InputError: there is no such sampler or rule, or a setting that would change nothing.
        """
        own = sampler is None or (sampler == self.sampler["name"] and sampler not in group_options("sampler"))
        config = self.sampler if own else load_sampler(str(sampler))
        guidance = self.guidance if guidance is None else guidance
        for name, value in (("rule", guidance_rule), ("negative condition", negative)):
            if value is not None and callable(guidance):
                raise InputError(f"a {name} is for guidance by a scale; the function that is given knows its own")
            if value is not None and guidance == 1:
                raise InputError(f"guidance 1 is off, so that a {name} changes nothing; ask for guidance above 1")
        return Sampling(
            config if steps is None else {**config, "steps": steps},
            guidance,
            self.rule if guidance_rule is None else load_option("guidance_rule", guidance_rule),
            self.negative if negative is None else str(negative),
        )

    def requested(
        self, conditions: Sequence[str | None], *, guidance: Guide | None = None, **changes: Any
    ) -> "Sampling":
        """This `changed` for samples of these ``conditions``, of which None is the null condition.

        Raises:
            InputError: as for `changed`, or a scale of guidance is asked for that would change nothing.
        """
        sampling = self.changed(guidance=guidance, **changes)
        if guidance not in (None, 1) and not sampling.leads(conditions):
            raise InputError(
                f"guidance needs a label or a prompt to follow, or a negative; give one, or leave {guidance} out"
            )
        return sampling

    def effective(self, conditions: Sequence[str | None]) -> "Sampling":
        """This with guidance off where it would change nothing, at twice the cost."""
        return self if self.leads(conditions) else replace(self, guidance=1.0)

    def leads(self, conditions: Sequence[str | None]) -> bool:
        """Whether guidance has a condition to follow, or one to lead away from."""
        return callable(self.guidance) or self.negative is not None or any(name is not None for name in conditions)


def load_sampler(name: str) -> dict[str, Any]:
    """The sampler called ``name`` in the config group, or described by the YAML file ``name``.

    Raises:
        InputError: there is none, or the file describes something else.
    """
    if not name.endswith(".yaml"):
        return load_option("sampler", name)
    try:
        config = yaml.safe_load(Path(name).read_text())
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{name} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(config, dict) or set(config) != SAMPLER_PARTS:
        raise InputError(f"{name} does not describe a sampler by {', '.join(sorted(SAMPLER_PARTS))}")
    if not isinstance(config["name"], str):
        raise InputError(f"{name}: the name of a sampler must be a text, got {config['name']!r}")
    return config


def seeds_of(seed: int, start: int, stop: int) -> list[int]:
    """The seeds of samples ``start`` to ``stop - 1`` of a request with the given ``seed``.

    Raises:
        InputError: it is not an integer of 64 bits.
    """
    if not isinstance(seed, int) or not -(2**63) <= seed < 2**63:
        raise InputError(f"a seed is an integer of 64 bits, got {seed!r}")
    return sample_seeds(seed, start, stop)


def batches_of(n: int, batch_size: int = 64) -> list[range]:
    """The numbers of ``n`` samples, in those that go through the network at once.

    Raises:
        InputError: the batch size is less than 1.
    """
    if batch_size < 1:
        raise InputError(f"the batch size must be at least 1, got {batch_size}")
    return [range(start, min(start + batch_size, n)) for start in range(0, n, batch_size)]
