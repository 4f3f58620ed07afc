"""One thread: tensors are tiny here, and waking a second one costs more than it gives. The same numbers every time."""

import os

import lightning as L
import pytest
import torch

torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # for the commands that tests start, and for pytest's workers


@pytest.fixture(autouse=True)
def _seeded():
    L.seed_everything(0, verbose=False)


def pytest_collection_modifyitems(items):
    """Start the longest test first, so that it does not run alone at the end."""
    items.sort(key=lambda item: "test_readme" not in item.nodeid)
