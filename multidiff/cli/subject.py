"""What `multidiff evaluate` evaluates: a model, or files that anything made; and the data it is held against."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import torch

from multidiff.configuration import described, group_options, instantiate
from multidiff.data.dataset import Dataset
from multidiff.data.files import sha256
from multidiff.data.folder import find_entries
from multidiff.errors import InputError
from multidiff.evaluation.reference import Reference
from multidiff.evaluation.sources import Drawn, Files, Source
from multidiff.modality import Modality
from multidiff.sampling import model_directory
from multidiff.sampling.pipeline import Pipeline
from multidiff.sampling.request import Changes

RECORD = "samples.json"


class Subject(ABC):
    """Something that samples come from.

    Attributes:
        name: for a title.
        modality: of the samples.
        shape: ``(C, *size)`` of each.
        holdout: fraction of the data that was held out of training, as far as is known.
        split_seed: that chose it.
    """

    name: str
    modality: Modality[Any]
    shape: tuple[int, ...]
    holdout: float = 0.1
    split_seed: int = 0

    @abstractmethod
    def source(
        self,
        reference: Reference,
        samples: int,
        seed: int,
        **changes: Unpack[Changes],
    ) -> tuple[Source, dict[str, Any]]:
        """The samples, and what the protocol must say of them."""


class ModelSubject(Subject):
    """A trained model: samples are drawn."""

    def __init__(self, path: str, device: torch.device):
        directory = model_directory.find_model(Path(path))
        self.pipeline = model_directory.load(directory, str(device))
        training = model_directory.read_config(directory).get("training") or {}
        self.name, self.modality, self.shape = path, self.pipeline.modality, self.pipeline.shape
        self.holdout, self.split_seed = training.get("holdout", self.holdout), training.get("seed", self.split_seed)
        self.sha256 = sha256(directory / model_directory.WEIGHTS)

    def source(
        self,
        reference: Reference,
        samples: int,
        seed: int,
        **changes: Unpack[Changes],
    ) -> tuple[Source, dict[str, Any]]:
        pipeline = self.pipeline
        conditioner = pipeline.model.conditioner
        asked = reference.conditions(samples, conditioner.reads, conditioner.vocabulary)
        _require_known(pipeline, asked)
        sampling = pipeline.sampling.requested(asked, **changes)
        pipeline.prepared(sampling)
        facts = {
            "model_sha256": self.sha256,
            "sampler": dict(sampling.sampler),
            "guidance": sampling.guidance,
            "guidance_rule": dict(sampling.rule),
            "seed": seed,
        }
        return Drawn(pipeline, sampling, asked, seed), facts


class FilesSubject(Subject):
    """A folder of samples, of which ``samples.json`` tells what they are, or sub-folders their classes."""

    def __init__(self, folder: Path, modality: str | None):
        if not folder.is_dir():
            raise InputError(f"there is no folder {folder}: --generated takes one with samples in it")
        self.name, record = str(folder), _record(folder)
        self.foreign = record is None
        told = record["modality"] if record and modality is None else None
        self.config = told or described("modality", modality or "image")
        self.modality = instantiate(self.config)
        if record is None:
            entries = find_entries(folder, self.modality.suffixes, self.modality.name)
            self.paths, self.asked = [entry.path for entry in entries], [entry.label for entry in entries]
        else:
            self.paths = [folder / file["file"] for file in record["files"]]
            self.asked = [file["condition"] for file in record["files"]]
        self.shape = tuple(self.modality.to_tensor(self.modality.read(self.paths[0])).shape)

    def learn(self, settings: Mapping[str, Any]) -> None:
        """Take what only the data can tell of the modality; a model knows it already."""
        self.modality = instantiate({**self.config, **settings})

    def source(
        self,
        reference: Reference,
        samples: int,
        seed: int,
        **changes: Unpack[Changes],
    ) -> tuple[Source, dict[str, Any]]:
        if any(value is not None for value in changes.values()):
            raise InputError("--sampler, --steps and --guidance are for a MODEL; files are taken as they are")
        paths, asked = self.paths[:samples], self.asked[:samples]
        content = hashlib.sha256("".join(sha256(path) for path in paths).encode()).hexdigest()
        facts = {"files": len(paths), "content": content, "foreign": self.foreign}
        return Files(self.modality, paths, asked, reference.dataset.shape, foreign=self.foreign), facts


def subject_of(model: str | None, generated: Path | None, modality: str | None, device: torch.device) -> Subject:
    """The model, or the folder of files, whose modality is ``NAME KEY=VALUE ...``, or as its record says."""
    if model is not None:
        return ModelSubject(model, device)
    assert generated is not None
    return FilesSubject(generated, modality)


def data_of(text: str, subject: Subject) -> Dataset:
    """The data set that ``--data`` names: a folder, or ``NAME KEY=VALUE ...`` of the group ``data``.

    Raises:
        InputError: it is neither, or its samples have another shape than those of ``subject``.
    """
    words = text.split()
    if words and words[0] in group_options("data"):
        config = described("data", text)
    elif words and Path(text).expanduser().is_dir():
        config = subject.modality.folder(Path(text).expanduser(), subject.shape)
    else:
        options = ", ".join(group_options("data"))
        raise InputError(f"--data {text}: neither a folder nor one of: {options}")
    dataset: Dataset = instantiate(config, modality=subject.modality)
    if isinstance(subject, FilesSubject):
        subject.learn(dataset.modality_settings)
    elif tuple(dataset.shape) != subject.shape:
        raise InputError(
            f"--data {text} has samples of shape {tuple(dataset.shape)}, and {subject.name} {subject.shape}"
        )
    return dataset


def _require_known(pipeline: Pipeline, asked: Sequence[str | None]) -> None:
    known = sorted({name for name in asked if name is not None})
    if known:
        pipeline.model.condition(known)


def _record(folder: Path) -> dict[str, Any] | None:
    """What `multidiff sample` wrote beside its samples; None in a folder of other files."""
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text())
        files = [{key: file[key] for key in ("file", "condition")} for file in record["files"]]
        config = record.get("modality")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is not a record that `multidiff sample` wrote; remove it or mend it") from error
    if not files:
        raise InputError(f"{path} names no samples; remove it or mend it")
    return {"files": files, "modality": config}
