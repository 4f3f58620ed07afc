"""A trained model, ready to sample."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from multidiff.configuration import instantiate, load_option
from multidiff.diffusion.denoiser import Denoiser
from multidiff.diffusion.guidance import ClassifierFreeGuidance
from multidiff.diffusion.noise import NoiseSource, sample_seeds
from multidiff.diffusion.samplers import sample
from multidiff.errors import InputError
from multidiff.modality import Modality
from multidiff.model import Model

Names = str | int | Sequence[str | int]
"""A label or a prompt for all samples, or several that the samples take in turn."""


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


class Pipeline:
    """A trained model with its modality.

    Args:
        model: denoiser and conditioner, with trained weights.
        modality: from tensors to artifacts.
        shape: ``(C, *size)`` of the samples that the model was trained on.
        sampling: used where a request does not say otherwise.
    """

    def __init__(self, model: Model, modality: Modality[Any], shape: Sequence[int], sampling: Sampling):
        self.model = model.eval()
        self.modality = modality
        self.shape = tuple(shape)
        self.sampling = sampling

    def sample(
        self,
        n: int = 1,
        *,
        label: Names | None = None,
        prompt: Names | None = None,
        sampler: str | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        seed: int = 0,
        batch_size: int = 64,
    ) -> list[Any]:
        """Draw ``n`` samples as artifacts: PIL images, audio clips, meshes.

        Sample i depends on (``seed``, i) and its own condition alone, so the first four of 400 are those of 4.

        Args:
            n: how many.
            label: a class that the model was trained with; of several, sample i takes number i modulo their count.
            prompt: a text, likewise, for a model that was trained with captions.
            sampler: an option of the config group ``sampler``.
            steps: number of steps; the sampler's own by default.
            guidance: scale of classifier-free guidance; 1 is off.
            seed: any integer of 64 bits.
            batch_size: how many go through the network at once; it changes speed and memory only.

        Raises:
            InputError: a value that cannot be used; the message lists what can.
        """
        sampling = self.sampling.changed(sampler, steps, guidance)
        conditions = self.conditions(n, label=label, prompt=prompt)
        return list(self.stream(conditions, sampling, seed=seed, batch_size=batch_size))

    def conditions(self, n: int, *, label: Names | None = None, prompt: Names | None = None) -> list[str | None]:
        """The label or prompt of each of ``n`` samples.

        Raises:
            InputError: the model was not trained with what is asked for.
        """
        if n < 1:
            raise InputError(f"the number of samples must be at least 1, got {n}")
        conditioner = self.model.conditioner
        for field, asked, option in (("label", label, "label"), ("caption", prompt, "prompt")):
            if asked is not None and conditioner.reads != field:
                takes = {"label": "labels", "caption": "prompts", None: "no condition"}[conditioner.reads]
                raise InputError(f"this model was not trained with a {option}: it takes {takes}")
        asked = label if label is not None else prompt
        if asked is None:
            return [None] * n
        names = [str(asked)] if isinstance(asked, str | int) else [str(name) for name in asked]
        if not names:
            raise InputError("the list of labels or prompts is empty")
        with torch.no_grad():
            conditioner(names)  # an unknown name is refused before any work is done
        return [names[i % len(names)] for i in range(n)]

    def stream(
        self,
        conditions: Sequence[str | None],
        sampling: Sampling,
        *,
        seed: int = 0,
        batch_size: int = 64,
        on_step: Callable[[int, Tensor], None] | None = None,
    ) -> Iterator[Any]:
        """Artifacts one by one, drawn a batch at a time, one for each of ``conditions``."""
        if batch_size < 1:
            raise InputError(f"the batch size must be at least 1, got {batch_size}")
        seeds = iter(sample_seeds(seed, 0, len(conditions)))
        for start in range(0, len(conditions), batch_size):
            batch = conditions[start : start + batch_size]
            x0 = self.sample_tensor(list(islice(seeds, len(batch))), batch, sampling, on_step)
            yield from (self.modality.to_artifact(x) for x in x0.cpu())

    @torch.no_grad()
    def sample_tensor(
        self,
        seeds: Sequence[int],
        conditions: Iterable[str | None],
        sampling: Sampling,
        on_step: Callable[[int, Tensor], None] | None = None,
    ) -> Tensor:
        """One batch of samples as a tensor, ``(B, C, *size)``, with a seed and a condition each."""
        parameter = next(self.model.parameters())
        noise = NoiseSource(seeds, self.shape, parameter.dtype, parameter.device)
        cond = self.model.condition(list(conditions))
        schedule = self.model.denoiser.schedule
        try:
            denoiser: Denoiser = ClassifierFreeGuidance(self.model.denoiser, sampling.guidance)
            grid = instantiate(sampling.sampler["grid"])(schedule, sampling.sampler["steps"])
        except ValueError as error:
            raise InputError(str(error)) from error
        method = instantiate(sampling.sampler["method"], schedule=schedule)
        return sample(denoiser, noise, method, grid, cond, on_step)
