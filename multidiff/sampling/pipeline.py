"""A trained model with its modality, ready to sample."""

import logging
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, Unpack

import torch
from torch import Tensor

from multidiff.diffusion.noise import NoiseSource
from multidiff.diffusion.objectives import Trained
from multidiff.errors import InputError
from multidiff.modality import Modality
from multidiff.model import Model
from multidiff.pretrained import Stack
from multidiff.sampling import few_step
from multidiff.sampling.conditions import checked_prompts, counted
from multidiff.sampling.editing import Canvas, Continue, Edit, Redo, Vary
from multidiff.sampling.gallery import Gallery, generated
from multidiff.sampling.guidance import Fields, Guidance, Guide
from multidiff.sampling.notebook import model_facts, table
from multidiff.sampling.plan import Plan
from multidiff.sampling.requested import Names, Settings, negative_of, samples_of, sorted_out
from multidiff.sampling.sampler_config import chosen_sampler
from multidiff.sampling.seeds import Interpolated, Seeded, Seeds, Varied, Versions
from multidiff.sampling.speed import with_speed

log = logging.getLogger(__name__)


class Pipeline:
    """A trained model with its modality.

    Args:
        model: codec, conditioner and denoiser, with trained weights.
        modality: from data to artifacts.
        shape: of x0, ``(C, *size)``, in training.
        sampler: a config of the group ``sampler``, used by default.
        guidance: scale, used by default; 1 is off.
        sha256: hex hash of the weights file; None for a model that is not saved.
        modality_config: from which the modality was built; kept in records.
        trained: how a model of its objective is sampled; by default as a denoiser.
        lora: the LoRAs that were fused into a pretrained model; kept in records.
        pretrained: whether the model is a pretrained pipeline, with or without a LoRA.
    """

    def __init__(
        self,
        model: Model,
        modality: Modality[Any],
        shape: Sequence[int],
        sampler: Mapping[str, Any],
        guidance: float = 1.0,
        sha256: str | None = None,
        modality_config: Mapping[str, Any] | None = None,
        trained: Trained | None = None,
        lora: Stack = (),
        pretrained: bool = False,
    ):
        self.model = model.eval()
        self.modality = modality
        self.shape = tuple(shape)
        self.sampler, self.guidance, self.sha256 = sampler, guidance, sha256
        self.modality_config, self.trained = modality_config, trained or Trained()
        self.lora, self.pretrained = lora, pretrained

    def _repr_html_(self) -> str:
        return table(model_facts(self))

    @property
    def canvas(self) -> Canvas:
        """The space that the model generates in."""
        like = next(self.model.parameters())
        return Canvas(self.modality, self.model.codec, self.shape, like, self.model.denoiser.masked)

    @property
    def data_shape(self) -> tuple[int, ...]:
        """Of the data tensors, ``(C, *size)``."""
        return self.canvas.data_shape

    @property
    def batch_size(self) -> int:
        """Samples that go through the network at once by default: 64, or fewer of a large size."""
        return self.model.codec.at_once(self.shape)

    def plan(
        self,
        n: int = 1,
        *,
        label: Names | None = None,
        prompt: Names | None = None,
        prompts: Sequence[str] | None = None,
        fields: Mapping[str, Names] | None = None,
        negative: str | int | Fields | None = None,
        sampler: str | None = None,
        steps: int | None = None,
        guidance: Guide | None = None,
        guidance_rule: str | None = None,
        guidance_field: str | None = None,
        seed: int = 0,
        batch_size: int | None = None,
        precision: str | None = None,
        compile: bool | None = None,
        edit: Edit | None = None,
        seeds: Seeds | None = None,
    ) -> Plan:
        """Validate and build a request for ``n`` samples.

        Sample i depends on (``seed``, i) and its own fields alone, so the first four of 400 are those of 4.

        Args:
            n: number of samples.
            label: a class that the model was trained with; of several, sample i takes number i modulo their count.
            prompt: a text, likewise, for a model that was trained with captions; ``(red:1.3)`` weights words.
            prompts: texts; ``n`` samples of each, which are those of that ``prompt`` alone: with the same noise and the
                same further fields.
            fields: values of further fields, likewise, and settings of the modality, such as the number of points.
            negative: a label, a prompt or fields to steer away from.
            sampler: an option of the config group ``sampler``, or a file that `multidiff grid` wrote.
            steps: number of steps; the sampler's own by default.
            guidance: the scale, 1 being off; or a function that makes a guided denoiser of a denoiser.
            guidance_rule: an option of the config group ``guidance_rule``.
            guidance_field: the one field that guidance follows; all of them by default.
            seed: an integer of 64 bits.
            batch_size: samples that go through the network at once, `Pipeline.batch_size` by default; it changes
                results by rounding alone.
            precision: of the network, ``float32``, ``bfloat16`` or ``auto``, the faster one; that of the sampler by
                default, which is float32 unless its file says otherwise.
            compile: whether the network is compiled: minutes before the first step, and faster ones after it.
            edit: an artifact to start from, and what to do with it.
            seeds: other noise than that of ``seed``.

        Raises:
            InputError: a value that cannot be used; the message lists what can.
        """
        if seeds is not None and (seed or prompts is not None):
            raise InputError(f"this method sets its own seeds: leave {'seed' if seed else 'prompts'} out")
        n = counted("the number of samples", n)
        if prompts is not None:
            prompts = checked_prompts(prompts, (fields or {}).get("caption", prompt))
            seeds, prompt = Versions(seed, n), prompts[0]
        reads = self.model.conditioner.reads
        known, sizes = sorted_out(reads, fields or {}, {"label": label, "caption": prompt})
        pipeline = self.resized(**sizes) if sizes else self
        samples = samples_of(reads, n, known)
        if prompts is not None:
            samples = tuple({**sample, "caption": text} for text in prompts for sample in samples)
        opposite = negative_of(reads, negative, guidance_field or self.model.conditioner.guided)
        guided = self._guided(samples, opposite, guidance, guidance_rule, guidance_field)
        config = with_speed(chosen_sampler(self.sampler, sampler, steps), precision, compile, self.canvas.like.device)
        together = pipeline.batch_size if batch_size is None else batch_size
        plan = Plan(pipeline, samples, config, guided, seeds or Seeded(seed), edit, sizes, batch_size=together)
        for line in [*few_step.remarks(plan), *self.model.conditioner.remarks([*samples, opposite])]:
            log.warning("%s", line)
        return plan

    def _guided(
        self, samples: Sequence[Fields], opposite: Fields, scale: Guide | None, rule: str | None, field: str | None
    ) -> Guidance:
        """The guidance of a request.

        Raises:
            InputError: a setting cannot be used, or guidance was asked for and has nothing to act on.
        """
        own = Guidance(self.guidance, field=self.model.conditioner.guided)
        guided = own.changed(scale, rule, field, opposite, self.model.conditioner.reads)
        chosen = scale not in (None, 1) or rule is not None or field is not None
        if chosen and not guided.acts_on(self.model.conditioner.stated(samples)):
            raise InputError("guidance needs a condition to follow or a negative one; give one, or leave guidance out")
        return guided

    def sample(
        self,
        n: int = 1,
        *,
        init: Any = None,
        strength: float | None = None,
        seed: int = 0,
        **settings: Unpack[Settings],
    ) -> Gallery:
        """Generate ``n`` samples as a list of artifacts: PIL images, audio clips, point clouds.

        Args:
            n: number of samples.
            init: an artifact to start from, in place of noise.
            strength: with ``init``, how much of it is regenerated: above 0, at most 1.
            seed: an integer of 64 bits.
            **settings: as for `plan`.
        """
        if (init is None) != (strength is None):
            raise InputError("init and strength come together: an artifact, and how much of it is regenerated")
        edit = None if strength is None else Vary(init, strength)
        return generated(self.plan(n, seed=seed, edit=edit, **settings))

    def inpaint(
        self,
        artifact: Any,
        *region: Any,
        n: int = 1,
        repeats: int = 5,
        strength: float = 1.0,
        seed: int = 0,
        **settings: Unpack[Settings],
    ) -> Gallery:
        """Regenerate a part of ``artifact``, ``n`` times, to agree with the rest, which is kept exactly.

        Args:
            artifact: of the size that the model generates.
            *region: the part, in the terms of `Modality.mask`: of an image, a mask that is true there; of a sound, the
                seconds at which it starts and ends.
            n: number of samples.
            repeats: how often each step is taken; more agree better with the rest, and take longer.
            strength: how much of the part is regenerated: above 0, at most 1.
            seed: as for `sample`.
            **settings: as for `plan`.
        """
        return generated(self.plan(n, seed=seed, edit=Redo(artifact, region, repeats, strength), **settings))

    def extend(
        self,
        artifact: Any,
        amount: float,
        *,
        n: int = 1,
        overlap: float = 0.5,
        repeats: int = 5,
        seed: int = 0,
        **settings: Unpack[Settings],
    ) -> Gallery:
        """Continue ``artifact``, of any length, ``n`` times: longer ones that begin as it does.

        Args:
            artifact: it grows along its last axis, which is to the right for images, and in time for sounds.
            amount: by how much, in the unit of the modality: pixels, or seconds.
            n: number of samples.
            overlap: the fraction of a window that is already known; more agrees better, and takes longer.
            repeats: as for `inpaint`.
            seed: as for `sample`.
            **settings: as for `plan`.
        """
        edit = Continue(artifact, amount, overlap, repeats)
        return generated(self.plan(n, seed=seed, edit=edit, **settings))

    def interpolate(self, first: int, second: int, n: int = 8, **settings: Unpack[Settings]) -> Gallery:
        """``n`` samples on the way from the first sample of seed ``first`` to that of seed ``second``.

        The noise is mixed spherically, so that every sample on the way is as likely as the ends.
        """
        return generated(self.plan(n, seeds=Interpolated(first, second, n), **settings))

    def variations(self, seed: int, n: int = 8, amount: float = 0.3, **settings: Unpack[Settings]) -> Gallery:
        """``n`` samples like the first of ``seed``: its noise mixed with that of the n samples after it.

        Args:
            seed: as for `sample`.
            n: number of samples.
            amount: from 0, the sample itself, to 1, the others.
            **settings: as for `plan`.
        """
        return generated(self.plan(n, seeds=Varied(seed, amount), **settings))

    def resized(self, **settings: Any) -> "Pipeline":
        """The same pipeline for samples of another size, in settings of the modality: ``points=4096`` for shapes.

        Raises:
            InputError: the modality has no such setting.
        """
        data_shape = self.modality.resized(self.data_shape, **settings)
        shape = self.model.codec.shape(data_shape)
        resized = copy(self)
        resized.shape = shape
        codec = self.model.codec.decoding(data_shape)
        resized.model = Model(codec, self.model.conditioner, self.model.denoiser.sized(shape)).eval()
        return resized

    def noise(self, seeds: Sequence[int]) -> NoiseSource:
        """Noise in the shape, the precision and on the device of the model."""
        like = self.canvas.like
        return NoiseSource(seeds, self.shape, like.dtype, like.device)

    def artifacts(self, x0: Tensor, edit: Edit | None = None) -> list[Any]:
        """Artifacts of a batch of x0, which ``edit`` made."""
        artifacts: list[Any] = []
        for part in x0.split(self.model.codec.decoded_at_once(tuple(x0.shape[1:]))):
            with torch.no_grad():
                decoded = self.model.decode(part)
                data = decoded if edit is None else edit.finished(self.canvas, decoded)
            artifacts += [self.modality.to_artifact(each) for each in data.cpu()]
        return artifacts
