"""The memory of a training step of a codec, before there is one."""

import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from multidiff.codecs.losses import Batch
from multidiff.data.dataset import Dataset
from multidiff.nn.frozen import Frozen
from multidiff.training.memory import StepMemory, expected_memory
from multidiff.training.reconstruction import ReconstructionModule


def codec_step_memory(
    module: ReconstructionModule, dataset: Dataset, settings: Mapping[str, Any], batch_size: int
) -> StepMemory:
    """The memory of a step with all terms of the loss; nothing of the size of a step is allocated.

    Args:
        module: that trains.
        dataset: the training data.
        settings: of the training.
        batch_size: samples of a step.
    """
    data = torch.zeros(batch_size, *dataset.shape)
    return expected_memory(module, settings, [_Terms(module)], [(0, (data,), {})])


class _Terms(nn.Module):
    """The terms of the loss of a batch, with the frozen networks that compute them among its modules."""

    def __init__(self, module: ReconstructionModule):
        super().__init__()
        self.model, self.reconstruction = module.model, module.reconstruction
        self.frozen = nn.ModuleList(part.module for part in module.modules() if isinstance(part, Frozen))

    def forward(self, data: Tensor) -> list[Tensor]:
        batch = Batch(data, [{} for _ in data], step=sys.maxsize)  # a discriminator counts from some step on
        return list(self.reconstruction(self.model, batch, torch.Generator(data.device)).values())
