"""What is evaluated, a model or files, and the real data that it is compared with."""

import hashlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from multidiff.configuration import described, group_options, instantiate, read_yaml
from multidiff.data.dataset import Dataset
from multidiff.data.files import sha256
from multidiff.data.folder import Folder
from multidiff.data.scan import find_entries
from multidiff.errors import InputError
from multidiff.evaluation.reference import Reference
from multidiff.evaluation.sources import BLOCK, Files, Generated, Source
from multidiff.modality import Modality
from multidiff.sampling import few_step, model_directory
from multidiff.sampling.guidance import Guidance
from multidiff.sampling.plan import Plan
from multidiff.sampling.sampler_config import chosen_sampler
from multidiff.sampling.samples import read_record
from multidiff.sampling.seeds import Seeded

log = logging.getLogger(__name__)


class Evaluated(ABC):
    """A source of samples that can be evaluated.

    Attributes:
        name: for a title.
        modality: of the samples.
        shape: of their data, ``(C, *size)``.
        holdout: fraction of the data that was held out of training, as far as is known.
        split_seed: of the split.
    """

    name: str
    modality: Modality[Any]
    shape: tuple[int, ...]
    holdout: float = 0.1
    split_seed: int = 0

    @abstractmethod
    def source(
        self, reference: Reference, samples: int, seed: int, changes: Mapping[str, Any]
    ) -> tuple[Source, dict[str, Any]]:
        """The samples, and facts about them for the protocol.

        Args:
            reference: the real data.
            samples: how many.
            seed: of the samples of a model.
            changes: to the sampling of a model: ``sampler``, ``steps``, ``guidance``, ``guidance_rule``.
        """

    def data(self, text: str) -> Dataset:
        """The data set that ``text`` names: a folder, or ``NAME KEY=VALUE ...`` of the group ``data``.

        Raises:
            InputError: it is neither, or its samples have another shape.
        """
        words, folder = text.split(), Path(text).expanduser()
        if words and words[0] in group_options("data"):
            dataset: Dataset = instantiate(Dataset, described("data", text), modality=self.modality)
        elif words and folder.is_dir():
            dataset = Folder(self.modality, folder, **self.modality.settings_for(self.shape))
        else:
            raise InputError(f"--data {text}: neither a folder nor one of: {', '.join(group_options('data'))}")
        self.check(dataset, text)
        return dataset

    def check(self, dataset: Dataset, text: str) -> None:  # noqa: B027  files are compared one by one
        """Refuse data that cannot be compared with the samples."""


class EvaluatedModel(Evaluated):
    """A trained model that generates the samples.

    Args:
        path: of the model.
        device: on which it is sampled.
        batch_size: samples that go through the network at once, at most a block; by default that of the pipeline.
    """

    def __init__(self, path: str, device: torch.device, batch_size: int | None = None):
        place = Path(path).expanduser()
        pretrained = model_directory.find_pipeline(place)
        directory = pretrained or model_directory.find_model(place)
        self.pipeline = model_directory.load(directory, str(device))
        self.name, self.modality, self.shape = path, self.pipeline.modality, self.pipeline.data_shape
        self.batch_size = min(BLOCK, self.pipeline.batch_size if batch_size is None else batch_size)
        training = _split(place) if pretrained else model_directory.read_config(directory).get("training") or {}
        if isinstance(training, dict):
            self.holdout, self.split_seed = training.get("holdout", self.holdout), training.get("seed", self.split_seed)
        if (
            not isinstance(training, dict)
            or not isinstance(self.holdout, float)
            or not isinstance(self.split_seed, int)
        ):
            raise InputError(
                f"{directory / model_directory.CONFIG}: training must hold numbers, among them holdout and seed"
            )

    def check(self, dataset: Dataset, text: str) -> None:
        shape = tuple(dataset.shape)
        codec, alike = self.pipeline.model.codec, self.modality.reconstructed(shape, self.shape)
        try:
            fits = alike and codec.shape(shape) == self.pipeline.shape
        except InputError as error:
            raise InputError(f"--data {text}: {error}") from error
        if not fits:  # decoded data may be longer than the data, by padding to whole frames of x0
            raise InputError(
                f"--data {text} has samples of shape {shape}, and {self.name} {self.shape}: give other data, or "
                'settings for that shape, as in --data "NAME KEY=VALUE ..."'
            )

    def source(
        self, reference: Reference, samples: int, seed: int, changes: Mapping[str, Any]
    ) -> tuple[Source, dict[str, Any]]:
        pipeline, conditioner = self.pipeline, self.pipeline.model.conditioner
        fields = tuple(reference.conditions(samples, conditioner))
        scale, rule = changes.get("guidance"), changes.get("guidance_rule")
        own = Guidance(pipeline.guidance, field=conditioner.guided)
        guidance = own.changed(scale, rule, None, {}, conditioner.reads)
        sampler = chosen_sampler(pipeline.sampler, changes.get("sampler"), changes.get("steps"))
        plan = Plan(pipeline, fields, sampler, guidance, Seeded(seed), batch_size=self.batch_size)
        if scale not in (None, 1) and not guidance.acts_on(conditioner.stated(fields)):
            raise InputError(f"guidance {scale} needs a condition to follow, and these samples have none")
        for line in few_step.remarks(plan):
            log.warning("%s", line)
        facts = {
            "model_sha256": pipeline.sha256,
            "sampler": dict(plan.sampler),
            "guidance": plan.guidance.scale,
            "guidance_rule": dict(plan.guidance.rule),
            "seed": seed,
            "batch_size": plan.batch_size,
        }
        return Generated(plan, reference), facts


def _split(place: Path) -> Any:
    """How data were held out of the training whose run directory is ``place``; empty if it is none."""
    config = read_yaml(place / model_directory.CONFIG) if (place / model_directory.CONFIG).is_file() else None
    if not isinstance(config, dict) or not isinstance(config.get("loader"), dict):
        return {}
    return {"holdout": config["loader"].get("holdout"), "seed": config.get("seed")}


class EvaluatedFiles(Evaluated):
    """A folder of files with a ``samples.json``, or with subfolders as classes."""

    def __init__(self, folder: Path, modality: str | None):
        if not folder.is_dir():
            raise InputError(f"there is no folder {folder}: --generated takes one with samples in it")
        self.name, record = str(folder), read_record(folder)
        self.foreign = record is None
        if record is not None and modality is None:
            self.modality = record.modality
        else:
            self.modality = instantiate(Modality, described("modality", modality or "image"))
        if record is None:
            entries = find_entries(folder, self.modality.suffixes, self.modality.name)
            self.paths, self.labels = [entry.path for entry in entries], [entry.label for entry in entries]
        else:
            self.paths = [record.path(entry) for entry in record.files]
            labels = [entry["fields"].get("label") for entry in record.files]
            self.labels = [None if label is None else str(label) for label in labels]
        self.shape = tuple(self.modality.to_data(self.modality.read(self.paths[0])).shape)

    def source(
        self, reference: Reference, samples: int, seed: int, changes: Mapping[str, Any]
    ) -> tuple[Source, dict[str, Any]]:
        if any(value is not None for value in changes.values()):
            raise InputError("--sampler, --steps and --guidance are for a MODEL; files are evaluated as they are")
        paths, labels = self.paths[:samples], self.labels[:samples]
        content = hashlib.sha256("".join(sha256(path) for path in paths).encode()).hexdigest()
        facts = {"files": len(paths), "content": content, "foreign": self.foreign}
        return Files(self.modality, paths, labels, reference.shape, foreign=self.foreign), facts
