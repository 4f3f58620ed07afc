"""One thread: tensors are tiny here, and waking a second one costs more than it gives. The same numbers every time."""

import lightning as L
import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded():
    L.seed_everything(0, verbose=False)
