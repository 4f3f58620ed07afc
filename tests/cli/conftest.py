import pytest

from tests.tiny import tiny_train


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("cli") / "run"
    tiny_train(run_dir, "trainer.max_steps=1")
    return run_dir
