"""A trained model, ready to sample."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Unpack

import torch
from torch import Tensor

from multidiff.configuration import instantiate, instantiate_as
from multidiff.diffusion.denoiser import Denoiser
from multidiff.diffusion.editing import Draw, MixedNoise
from multidiff.diffusion.grids import Grid
from multidiff.diffusion.noise import NoiseSource
from multidiff.diffusion.samplers import Sampler, sample
from multidiff.errors import InputError, refusals
from multidiff.modality import Modality
from multidiff.model import Model
from multidiff.sampling.editing import Canvas
from multidiff.sampling.plan import Sampling, batches_of, seeds_of
from multidiff.sampling.request import Changes, Names, Request, takes_a_request

NoiseRows = Callable[[range], NoiseSource]
"""The noise of some of the samples that are asked for."""


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

    @takes_a_request
    def sample(
        self, n: int = 1, *, init: Any = None, strength: float | None = None, seed: int = 0, **request: Unpack[Request]
    ) -> list[Any]:
        """Draw ``n`` samples as artifacts: PIL images, audio clips, meshes.

        Sample i depends on (``seed``, i) and its own condition alone, so the first four of 400 are those of 4.

        Args:
            n: how many.
            init: an artifact to start from in place of noise.
            strength: with ``init``, how much of it is made anew: above 0, at most 1.
            seed: any integer of 64 bits.
            **request: any of

                - ``label``: a class that the model was trained with; of several, sample i takes number i modulo their
                  count.
                - ``prompt``: a text, likewise, for a model that was trained with captions.
                - ``sampler``: an option of the config group ``sampler``, or a file that `multidiff grid` wrote.
                - ``steps``: number of steps; the sampler's own by default.
                - ``guidance``: its scale, 1 being off; or a function that makes a guided denoiser of a denoiser.
                - ``guidance_rule``: an option of the config group ``guidance_rule``.
                - ``negative``: a label or a prompt to lead away from.
                - ``batch_size``: how many go through the network at once; it changes speed and memory only.

        Raises:
            InputError: a value that cannot be used; the message lists what can.
            TypeError: a keyword that is none of these; likewise.
        """
        if (init is None) != (strength is None):
            raise InputError("init and strength come together: an artifact, and how much of it is made anew")
        draw = sample if strength is None else self.canvas.varied(init, strength)
        return self._artifacts(n, self._seeded(seed), draw, **request)

    @takes_a_request
    def inpaint(
        self, artifact: Any, *region: Any, n: int = 1, repeats: int = 5, seed: int = 0, **request: Unpack[Request]
    ) -> list[Any]:
        """Make a part of ``artifact`` anew, ``n`` times over, to agree with the rest, which is kept.

        Args:
            artifact: of the size that the model makes.
            *region: what is made anew, in the words of the modality, see `Modality.mask`: of an image, a mask that is
                true there; of a sound, the seconds at which it starts and ends.
            n: how many.
            repeats: how often each step is taken; more agree better with the rest, and take longer.
            seed: as for `sample`.
            **request: as for `sample`.
        """
        draw = self.canvas.repainted(artifact, *region, repeats=repeats)
        return self._artifacts(n, self._seeded(seed), draw, **request)

    @takes_a_request
    def extend(
        self,
        artifact: Any,
        amount: float,
        *,
        n: int = 1,
        overlap: float = 0.5,
        repeats: int = 5,
        seed: int = 0,
        **request: Unpack[Request],
    ) -> list[Any]:
        """Go on where ``artifact``, of any length, ends: longer ones, ``n`` times over, that begin as it does.

        Args:
            artifact: it grows along its last axis, which is to the right for images, and in time for sounds.
            amount: by how much, in the unit of the modality: pixels, or seconds.
            n: how many.
            overlap: the part of what the model draws at once that is there already; more agrees better, and takes
                longer.
            repeats: as for `inpaint`.
            seed: as for `sample`.
            **request: as for `sample`.
        """
        draw = self.canvas.continued(artifact, amount, overlap=overlap, repeats=repeats)
        return self._artifacts(n, self._seeded(seed), draw, **request)

    @takes_a_request
    def interpolate(self, first: int, second: int, n: int = 8, **request: Unpack[Request]) -> list[Any]:
        """``n`` samples on the way from the first sample of seed ``first`` to that of seed ``second``.

        The noise is mixed spherically, so that every sample on the way is as likely as the ends.
        """
        if n < 2 or first == second:
            raise InputError(f"interpolation goes between two seeds in at least 2, got {first}, {second} and {n}")
        a, b = (seeds_of(seed, 0, 1) for seed in (first, second))
        return self._artifacts(n, self._mixed(a * n, b * n, [i / (n - 1) for i in range(n)]), sample, **request)

    @takes_a_request
    def variations(self, seed: int, n: int = 8, amount: float = 0.3, **request: Unpack[Request]) -> list[Any]:
        """``n`` samples like the first of ``seed``: its noise mixed with that of the n after it.

        Args:
            seed: as for `sample`.
            n: how many.
            amount: from 0, the sample itself, to 1, the others.
            **request: as for `sample`.
        """
        if not 0 <= amount <= 1:
            raise InputError(f"the amount of variation runs from 0 to 1, got {amount}")
        base, *others = seeds_of(seed, 0, n + 1)
        return self._artifacts(n, self._mixed([base] * n, others, [amount] * n), sample, **request)

    def resized(self, amount: int) -> "Pipeline":
        """The same for samples of another size, as `Modality.resized` counts it: of shapes, so many points."""
        return Pipeline(self.model, self.modality, self.modality.resized(self.shape, amount), self.sampling)

    @property
    def canvas(self) -> Canvas:
        """What it draws on, and the ways to draw that start from an artifact."""
        return Canvas(self.modality, self.shape, next(self.model.parameters()))

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
        batches: Sequence[range] | None = None,
        draw: Draw | None = None,
        on_step: Callable[[int, Tensor], None] | None = None,
    ) -> Iterator[Any]:
        """Artifacts by ``draw``, or `sample`, one by one: for each of ``conditions``, or for those in ``batches``."""
        batches = batches_of(len(conditions)) if batches is None else batches
        return self._stream(self._seeded(seed), conditions, sampling, batches, draw or sample, on_step)

    @torch.no_grad()
    def sample_tensor(
        self,
        seeds: Sequence[int],
        conditions: Sequence[str | None],
        sampling: Sampling,
        on_step: Callable[[int, Tensor], None] | None = None,
    ) -> Tensor:
        """One batch of samples as a tensor, ``(B, C, *size)``, with a seed and a condition each."""
        return self._draw(self._noise(seeds), conditions, sampling, sample, on_step)

    def _artifacts(
        self,
        n: int,
        noise: NoiseRows,
        draw: Draw,
        *,
        label: Names | None = None,
        prompt: Names | None = None,
        batch_size: int = 64,
        **changes: Unpack[Changes],
    ) -> list[Any]:
        conditions = self.conditions(n, label=label, prompt=prompt)
        sampling = self.sampling.requested(conditions, **changes)
        return list(self._stream(noise, conditions, sampling, batches_of(n, batch_size), draw, None))

    def _stream(
        self,
        noise: NoiseRows,
        conditions: Sequence[str | None],
        sampling: Sampling,
        batches: Sequence[range],
        draw: Draw,
        on_step: Callable[[int, Tensor], None] | None,
    ) -> Iterator[Any]:
        for rows in batches:
            x0 = self._draw(noise(rows), [conditions[i] for i in rows], sampling, draw, on_step)
            yield from (self.modality.to_artifact(x) for x in x0.cpu())

    @torch.no_grad()
    def _draw(
        self,
        noise: NoiseSource,
        conditions: Sequence[str | None],
        sampling: Sampling,
        draw: Draw,
        on_step: Callable[[int, Tensor], None] | None,
    ) -> Tensor:
        denoiser, method, grid = self.prepared(sampling.effective(conditions))
        return draw(denoiser, noise, method, grid, self.model.condition(conditions), on_step)

    def prepared(self, sampling: Sampling) -> tuple[Denoiser, Sampler, Tensor]:
        """The guided denoiser, the method and the grid that ``sampling`` describes.

        Raises:
            InputError: a setting that cannot be used.
        """
        schedule = self.model.denoiser.schedule
        with refusals():
            denoiser = self._guided(sampling)
            method: Sampler = instantiate_as(Sampler, sampling.sampler["method"], schedule=schedule)
            grid: Grid = instantiate_as(Grid, sampling.sampler["grid"])
            return denoiser, method, grid(schedule, sampling.sampler["steps"])

    def _guided(self, sampling: Sampling) -> Denoiser:
        denoiser = self.model.denoiser
        if callable(sampling.guidance):
            return sampling.guidance(denoiser)
        negative = None
        if sampling.negative is not None:
            if self.model.conditioner.reads is None:
                raise InputError("this model takes no condition, so there is no negative one either")
            with torch.no_grad():
                negative = self.model.condition([sampling.negative])
        return instantiate(sampling.rule, denoiser=denoiser, scale=sampling.guidance, negative=negative)

    def _noise(self, seeds: Sequence[int]) -> NoiseSource:
        parameter = next(self.model.parameters())
        return NoiseSource(seeds, self.shape, parameter.dtype, parameter.device)

    def _seeded(self, seed: int) -> NoiseRows:
        return lambda rows: self._noise(seeds_of(seed, rows.start, rows.stop))

    def _mixed(self, first: Sequence[int], second: Sequence[int], part: Sequence[float]) -> NoiseRows:
        def noise(rows: range) -> NoiseSource:
            a, b = (self._noise([seeds[i] for i in rows]) for seeds in (first, second))
            return MixedNoise(a, b, [part[i] for i in rows])

        return noise
