"""An encoder that is trained on the reference data alone: features that need no download and no licence.

It is trained to classify the data or, where there are no classes, on a self-supervised task. A modality brings the
network and the examples; this module trains them reproducibly and keeps the result in the cache.
"""

import hashlib
import json
import logging
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from multidiff.configuration import read_json
from multidiff.data.cache import default_cache
from multidiff.data.progress import progress
from multidiff.errors import InputError
from multidiff.evaluation.features import Extractor, FeatureBatch, Features
from multidiff.evaluation.reference import Reference

log = logging.getLogger(__name__)

_FORMAT = 1
"""Version of the training recipe, a part of the key in the cache."""

WEIGHTS, FACTS = "encoder.safetensors", "facts.json"


class Task(ABC):
    """The task that an encoder is trained on.

    Attributes:
        name: in words, for the protocol.
        class_names: of the classes.
        of_the_data: whether those are the classes of the data.
        preprocessing: of an artifact before the network, in words.
    """

    name: str
    class_names: tuple[str, ...]
    of_the_data: bool
    preprocessing: str

    @abstractmethod
    def network(self) -> nn.Module:
        """Fresh weights from torch's generator; from inputs to features ``(B, D)`` and logits ``(B, classes)``."""

    @abstractmethod
    def examples(self, indices: Sequence[int], random: np.random.Generator | None) -> tuple[Tensor, Tensor]:
        """Inputs, ``(B, ...)``, and classes, ``(B,)``, of samples of the data; as for `augmented`."""

    @abstractmethod
    def augmented(self, indices: Sequence[int], random: np.random.Generator | None) -> Tensor:
        """Inputs of samples of the data, ``(B, ...)``, augmented if ``random`` is given."""

    @abstractmethod
    def inputs(self, artifacts: Sequence[Any]) -> Tensor:
        """The network's inputs for artifacts, ``(B, ...)``."""

    def fingerprints(self, inputs: Tensor) -> Tensor | None:
        """Vectors by which copies are found, ``(B, E)``; None, the default, for the features."""
        return None


class Classification(Task):
    """Classification of the data's own classes. A modality adds the network and the inputs.

    Args:
        reference: data with labels.
    """

    name = "classification"
    of_the_data = True

    def __init__(self, reference: Reference):
        super().__init__(reference)  # type: ignore[call-arg]  # of the modality's task
        labels = reference.dataset.labels
        assert labels is not None
        self.class_names, self.labels = labels.names, labels.indices

    def examples(self, indices: Sequence[int], random: np.random.Generator | None) -> tuple[Tensor, Tensor]:
        return self.augmented(indices, random), torch.from_numpy(self.labels[list(indices)]).long()


def has_classes(reference: Reference) -> bool:
    """Whether the data have several classes."""
    return reference.dataset.labels is not None and len(reference.dataset.labels.names) > 1


@dataclass(frozen=True)
class Recipe:
    """How an encoder is trained: AdamW, with the learning rate rising and falling once (OneCycle).

    Smith and Topin (2017), https://arxiv.org/abs/1708.07120.
    """

    steps: int
    batch_size: int = 64
    lr: float = 3e-3
    weight_decay: float = 0.05
    seed: int = 0


class LearnedFeatures(Features):
    """Features of an encoder that is trained on the training part of the reference.

    Args:
        steps: of its training, 64 samples each.
        cache: folder for the trained encoder; by default that of the user.
    """

    name: ClassVar[str]

    def __init__(self, steps: int, cache: str | Path | None = None):
        if steps < 1:
            raise InputError(f"an encoder trains for at least 1 step, got steps={steps}")
        self.recipe = Recipe(steps)
        self.cache = None if cache is None else Path(cache).expanduser()

    @abstractmethod
    def task(self, reference: Reference) -> Task:
        """The task: the classes of the data or, where there are none, a self-supervised one."""

    def network(self, reference: Reference) -> nn.Module:
        """The trained encoder, in evaluation mode, on the CPU."""
        return self._trained(self.task(reference), reference).network

    def extractor(self, reference: Reference, device: torch.device) -> Extractor:
        task = self.task(reference)
        result = self._trained(task, reference)
        return Extractor(
            self.name,
            result.sha256,
            task.preprocessing,
            partial(_extract, result.network.to(device), device, task),
            task.class_names if task.of_the_data else (),
            {"learned": task.name, "accuracy on held-out data": result.accuracy},
        )

    def _trained(self, task: Task, reference: Reference) -> "Trained":
        content = reference.dataset.content
        return trained(task, reference.training, reference.held_out, content, self.recipe, self.cache)


@torch.no_grad()
def _extract(network: nn.Module, device: torch.device, task: Task, artifacts: Sequence[Any]) -> FeatureBatch:
    inputs = task.inputs(artifacts)
    features, logits = network(inputs.to(device))
    probabilities = logits.softmax(dim=1).cpu() if task.of_the_data else None
    return FeatureBatch(features.cpu(), probabilities, task.fingerprints(inputs))


@dataclass(frozen=True)
class Trained:
    """A trained encoder.

    Attributes:
        network: in evaluation mode, on the CPU.
        sha256: hex hash of the weights.
        accuracy: on held-out samples, from 0 to 1.
    """

    network: nn.Module
    sha256: str
    accuracy: float


def trained(
    task: Task, training: Sequence[int], held_out: Sequence[int], content: str, recipe: Recipe, cache: Path | None
) -> Trained:
    """The encoder of ``task``, from the cache if it was trained on the same data before.

    It is trained on the CPU for reproducibility. The state of torch's generator is restored.

    Args:
        task: that it is trained on.
        training: indices of the training samples.
        held_out: indices of the samples for the accuracy.
        content: hex hash of the data.
        recipe: of the training.
        cache: folder; by default that of the user.

    Raises:
        InputError: the cache cannot be written.
    """
    key = [_FORMAT, task.name, task.class_names, list(training), list(held_out), content, asdict(recipe)]
    folder = (cache or default_cache()) / "encoders" / hashlib.sha256(json.dumps(key).encode()).hexdigest()
    if folder.exists():
        try:
            return _loaded(task, folder)
        except (SafetensorError, OSError, ValueError, LookupError, TypeError, RuntimeError) as error:
            log.warning("the encoder in %s is damaged (%s); it is trained again", folder, error)
            shutil.rmtree(folder)
    _train(task, training, held_out, recipe, folder)
    return _loaded(task, folder)


def _loaded(task: Task, folder: Path) -> Trained:
    """The encoder in ``folder``; damaged files raise various errors."""
    with torch.random.fork_rng(devices=[]):
        network = task.network()
    state = load_file(folder / WEIGHTS)
    network.load_state_dict(state)
    accuracy = float(read_json(folder / FACTS)["accuracy"])
    return Trained(network.eval().requires_grad_(False), state_hash(state), accuracy)


def state_hash(state: dict[str, Tensor]) -> str:
    """The SHA-256 of weights by their names, in hexadecimal."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _train(task: Task, training: Sequence[int], held_out: Sequence[int], recipe: Recipe, folder: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = task.network().train()
        _fit(network, task, np.asarray(training), recipe)
    facts = {"task": task.name, "classes": task.class_names, "accuracy": accuracy(network.eval(), task, held_out)}
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="building-", dir=folder.parent) as temporary:
            part = Path(temporary) / folder.name
            part.mkdir()
            save_file(network.state_dict(), part / WEIGHTS)
            (part / FACTS).write_text(json.dumps(facts))
            if not folder.exists():  # another process may have been faster
                part.rename(folder)
    except OSError as error:
        raise InputError(f"cannot write the cache {folder}: {error.strerror}; set MULTIDIFF_CACHE elsewhere") from error


def _fit(network: nn.Module, task: Task, training: np.ndarray, recipe: Recipe) -> None:
    random = np.random.default_rng(recipe.seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.lr, total_steps=recipe.steps)
    for _ in progress(range(recipe.steps), recipe.steps, "Training an encoder for {} steps"):
        inputs, classes = task.examples(random.choice(training, recipe.batch_size).tolist(), random)
        optimizer.zero_grad()
        F.cross_entropy(network(inputs)[1], classes).backward()
        optimizer.step()
        schedule.step()


@torch.no_grad()
def accuracy(network: nn.Module, task: Task, indices: Sequence[int], batch_size: int = 256) -> float:
    """The fraction of samples that ``network`` classifies correctly."""
    right = count = 0
    for start in range(0, len(indices), batch_size):
        inputs, classes = task.examples(indices[start : start + batch_size], None)
        right += int((network(inputs)[1].argmax(dim=1) == classes).sum())
        count += len(classes)
    return right / count
