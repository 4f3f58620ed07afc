import pytest

import multidiff
from tests.tiny import tiny_train


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("pipeline") / "run"
    tiny_train(run_dir, "trainer.max_steps=3", "optimizer.lr=1e-2", "warmup_steps=0", "ema=constant")
    return multidiff.load(run_dir)
