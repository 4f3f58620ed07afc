"""LoRA files with their weights, as records of plans describe them."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from multidiff.data.files import sha256
from multidiff.errors import InputError
from multidiff.pretrained.lora import lora_file

Stack = Sequence[Mapping[str, Any]]
"""For each LoRA in the order in which they are fused: file, sha256 and weight."""


def stacked(paths: Mapping[str, float]) -> Iterator[tuple[Path, float]]:
    """LoRA files, which may be given by their folders, with their weights, each of which is a finite number.

    Raises:
        InputError: a weight is none, or a folder holds no LoRA.
    """
    for path, weight in paths.items():
        if not isinstance(weight, int | float) or not torch.isfinite(torch.tensor(float(weight))):
            raise InputError(f"the weight of a LoRA is a finite number, got {weight!r} for {path}")
        yield lora_file(Path(path).expanduser()), float(weight)


def stack_of(paths: Mapping[str, float]) -> Stack:
    """What records hold of LoRA files that are there."""
    return [{"file": str(path), "sha256": sha256(path), "weight": weight} for path, weight in stacked(paths)]


def stack_hash(digest: str, stack: Stack) -> str:
    """The hash of a pipeline whose own hash is ``digest``, with LoRAs; the pipeline's own without any."""
    for lora in stack:
        digest = hashlib.sha256(f"{digest} {lora['sha256']} {lora['weight']}".encode()).hexdigest()
    return digest


def find_stack(stack: Stack, given: Sequence[Path], folder: Path) -> dict[str, float]:
    """The LoRA files that a record names, by their contents: given, at the recorded place, or in ``folder``.

    Raises:
        InputError: one is nowhere.
    """
    found = {}
    for lora in stack:
        recorded = Path(str(lora["file"])).expanduser()
        places = [*map(lora_file, given), recorded, folder / recorded.name, folder.parent / recorded.name]
        path = next((place for place in places if place.is_file() and sha256(place) == lora["sha256"]), None)
        if path is None:
            raise InputError(f"the plan needs the LoRA {recorded} ({lora['sha256'][:12]}): give it with --lora FILE")
        found[str(path)] = lora["weight"]
    return found
