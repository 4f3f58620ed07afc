"""One thread: tensors are tiny here, and waking a second one costs more than it gives. The same numbers every time."""

import gc
import os

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # for pytest's workers, and for the commands that tests start


@pytest.fixture(autouse=True)
def _seeded():
    import lightning as L  # noqa: PLC0415  the process that only starts the workers needs no torch

    L.seed_everything(0, verbose=False)


def pytest_collection():
    gc.disable()


def pytest_collection_finish():
    """What is imported by now stays: looking through it took half a second in every full collection."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items):
    """Start the longest test first, so that it does not run alone at the end."""
    items.sort(key=lambda item: "test_readme" not in item.nodeid)
