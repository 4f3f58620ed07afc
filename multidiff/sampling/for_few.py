"""What helps a training of few samples."""

from typing import Any

from multidiff.bundled import bundled
from multidiff.configuration.build import TARGET
from multidiff.modality import Modality
from multidiff.weights import read_config


def for_few(modality: Modality[Any]) -> str | None:
    """Advice for training on few samples of ``modality``, other than adding samples; None if there is none."""
    kind = f"{type(modality).__module__}.{type(modality).__qualname__}"
    targets = {name: read_config(folder)["modality"][TARGET] for name, folder in bundled().items()}
    known = next((name for name, target in targets.items() if target == kind), None)
    further = f"experiment=finetune init={known}, which trains a bundled model further" if known else None
    return ", or ".join(way for way in (further, modality.for_few) if way) or None
