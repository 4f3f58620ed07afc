"""How samples are drawn: a sampler's config, which travels with a model, and the guidance."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from multidiff.configuration import load_option


@dataclass(frozen=True)
class Sampling:
    """How samples are drawn.

    Attributes:
        sampler: a config of the group ``sampler``: its name, method, grid and number of steps.
        guidance: scale of classifier-free guidance; 1 is off.
    """

    sampler: Mapping[str, Any]
    guidance: float = 1.0

    def changed(self, sampler: str | None, steps: int | None, guidance: float | None) -> "Sampling":
        """This with another sampler by name, which brings its own steps, or other settings; None changes nothing."""
        config = self.sampler if sampler in (None, self.sampler["name"]) else load_option("sampler", str(sampler))
        return Sampling(
            config if steps is None else {**config, "steps": steps}, self.guidance if guidance is None else guidance
        )
