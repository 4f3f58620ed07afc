"""What one request to the studio may cost."""

import math
from dataclasses import dataclass

from multidiff.errors import InputError
from multidiff.sampling.pipeline import Pipeline
from multidiff.sampling.plan import Plan


@dataclass(frozen=True)
class Limits:
    """Limits of one request.

    Attributes:
        samples: number of samples.
        batch: samples that go through the network at once.
        steps: steps of the sampler.
        size: numbers in one sample: pixels or points times channels, or samples of a sound.
        seconds: computing time, after which a request ends without a result.
        waiting: requests in the queue; further ones are refused.
        upload: megabytes of an uploaded file.

    Raises:
        InputError: a limit is not above 0.
    """

    samples: int = 64
    batch: int = 64
    steps: int = 1000
    size: int = 2**22
    seconds: float = 600.0
    waiting: int = 100
    upload: int = 64

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 < value < math.inf:
                raise InputError(f"the limit of {name} is a number above 0, got {value}")

    def check_counts(self, samples: int, batch: int | None, steps: int | None) -> None:
        """Refuse a request by its numbers alone, before anything is built for it.

        Raises:
            InputError: a number is above its limit or below 1.
        """
        asked = {"samples": (samples, self.samples), "batch size": (batch, self.batch), "steps": (steps, self.steps)}
        for name, (value, most) in asked.items():
            if value is not None and not 1 <= value <= most:
                raise InputError(f"this studio takes {name} from 1 to {most}, got {value}")

    def check_size(self, size: int) -> None:
        """Refuse samples of more numbers than the limit.

        Raises:
            InputError: they have more.
        """
        if size > self.size:
            raise InputError(f"a sample of {size} numbers is larger than this studio allows, {self.size}")

    def check(self, plan: Plan) -> None:
        """Refuse a plan whose own settings, those of the model among them, exceed the limits."""
        self.check_counts(len(plan), plan.batch_size, plan.sampler["steps"])
        self.check_size(math.prod(plan.pipeline.data_shape))

    def most_steps(self, pipeline: Pipeline) -> int:
        """The end of a control for the number of steps: most samplers need far fewer than the limit."""
        return max(2, min(self.steps, max(100, pipeline.sampler["steps"])))
