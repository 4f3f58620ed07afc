"""How a plan guides its samples."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from multidiff.configuration import instantiate, load_option
from multidiff.diffusion.conditioning import Conditioning
from multidiff.diffusion.denoiser import Denoiser
from multidiff.errors import InputError, few_of
from multidiff.sampling.conditions import plain

Guide = float | Callable[[Denoiser], Denoiser]
"""The guidance scale, 1 being off; or, from Python, any guidance at all, as a function of the denoiser."""

Fields = Mapping[str, Any]
"""Values of a sample by field."""


def _default_rule() -> dict[str, Any]:
    return load_option("guidance_rule", "cfg")


@dataclass(frozen=True)
class Guidance:
    """The scale of guidance and the conditions that it moves away from and towards.

    Attributes:
        scale: 1 is off; or a function that makes a guided denoiser.
        rule: a config of the group ``guidance_rule``: what the scale means.
        field: the one field whose condition is followed more closely; None for all of them.
        negative: fields to steer away from; empty for the null condition.
    """

    scale: Guide = 1.0
    rule: Mapping[str, Any] = dataclasses.field(default_factory=_default_rule)
    field: str | None = None
    negative: Fields = dataclasses.field(default_factory=dict)

    def changed(
        self, scale: Guide | None, rule: str | None, field: str | None, negative: Fields, reads: Sequence[str]
    ) -> "Guidance":
        """This guidance with other settings; None or no field changes nothing.

        Args:
            scale: as `Guidance.scale`.
            rule: an option of the group ``guidance_rule``.
            field: as `Guidance.field`.
            negative: as `Guidance.negative`.
            reads: the fields that the model reads.

        Raises:
            InputError: there is no such rule or field, the scale is not a number, or a setting has no effect.
        """
        new = self.scale if scale is None else plain(scale)
        if isinstance(new, bool) or not (isinstance(new, int | float) or callable(new)):
            raise InputError(f"the guidance scale is a number, not {new!r}")
        given = {"guidance rule": rule, "negative condition": negative or None, "guidance field": field}
        for name, value in given.items():
            if value is not None and callable(new):
                raise InputError(f"a {name} needs a number as guidance scale, but a function was given")
            if value is not None and new == 1:
                raise InputError(f"guidance 1 is off, so a {name} would change nothing; set guidance above 1")
        if field is not None and field not in reads:
            raise InputError(
                f"guidance on {field!r}: this model has no such condition; it has {few_of(reads, field) or 'none'}"
            )
        followed = self.field if field is None else field
        others = set(negative) - {followed}
        if followed is not None and others:
            raise InputError(f"guidance on {followed!r} alone takes no negative {', '.join(others)}")
        return Guidance(
            new,
            self.rule if rule is None else load_option("guidance_rule", rule),
            followed,
            negative or self.negative,
        )

    def acts_on(self, samples: Sequence[Fields]) -> bool:
        """Whether there is a condition to follow or one to steer away from."""
        followed = [self.field] if self.field else {name for sample in samples for name in sample}
        conditioned = any(sample.get(name) is not None for sample in samples for name in followed)
        return callable(self.scale) or bool(self.negative) or conditioned

    def effective(self, samples: Sequence[Fields]) -> "Guidance":
        """This guidance, switched off where it would change nothing, at twice the cost."""
        return self if self.acts_on(samples) else replace(self, scale=1.0)

    def within(self, interval: tuple[float, float] | None) -> "Guidance":
        """This guidance within an interval of log SNR, unless its rule has one; None changes nothing."""
        if interval is None or callable(self.scale) or "interval" in self.rule:
            return self
        return replace(self, rule={**self.rule, "interval": list(interval)})

    def opposite(self, sample: Fields) -> Fields:
        """The fields that guidance steers a sample away from."""
        kept = {name: value for name, value in sample.items() if name != self.field} if self.field else {}
        return {**kept, **self.negative}

    def guided(self, denoiser: Denoiser, negative: Conditioning | None) -> Denoiser:
        """``denoiser`` under this guidance, steered away from ``negative``; None is the null condition."""
        if callable(self.scale):
            return self.scale(denoiser)
        return instantiate(Denoiser, self.rule, denoiser=denoiser, scale=self.scale, negative=negative)

    def record(self) -> dict[str, Any]:
        """Plain values, for JSON.

        Raises:
            InputError: the scale is a function, which has no record.
        """
        if callable(self.scale):
            raise InputError("a plan with a guidance function has no record; use a scale and a rule")
        return {"scale": self.scale, "rule": dict(self.rule), "field": self.field, "negative": dict(self.negative)}
