"""A safetensors file as a mapping whose tensors are read when they are asked for."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from multidiff.errors import InputError
from multidiff.pretrained.weights import FLOATS, INTEGERS, refused_type


class TensorFile(Mapping[str, Tensor]):
    """The tensors in a safetensors file, which may be larger than memory.

    Args:
        path: of the file.

    Attributes:
        metadata: of the file.
        shapes: of its tensors.

    Raises:
        InputError: it is damaged, or has a tensor of a type that is not read, such as FP8.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            self._file: Any = safe_open(path, "pt")
            slices = {key: self._file.get_slice(key) for key in self._file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise InputError(f"{path} is damaged or truncated ({error}); copy it again from its source") from error
        for key, each in slices.items():
            if each.get_dtype() not in {*FLOATS, *INTEGERS}:
                raise refused_type(path, key, each.get_dtype())
        self.metadata: Mapping[str, str] = self._file.metadata() or {}
        self.shapes = {key: torch.Size(each.get_shape()) for key, each in slices.items()}

    def __getitem__(self, key: str) -> Tensor:
        if key not in self.shapes:
            raise KeyError(key)
        tensor: Tensor = self._file.get_tensor(key)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)

    def dtype(self, prefix: str) -> torch.dtype:
        """The type of the first weight whose key begins with ``prefix``, tables of positions aside."""
        kinds = (self._file.get_slice(key).get_dtype() for key in self if key.startswith(prefix))
        return next((FLOATS[kind] for kind in kinds if kind in FLOATS), torch.float32)
