import pytest

from multidiff.studio.engine import Studio
from multidiff.studio.history import History
from multidiff.studio.limits import Limits
from multidiff.studio.models import Models
from tests.tiny import tiny_train


@pytest.fixture(scope="package")
def run_dir(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("studio") / "digits"
    tiny_train(run_dir, "trainer.max_steps=2")
    return run_dir


@pytest.fixture(scope="package")
def models(run_dir):
    return Models.load([run_dir])


@pytest.fixture
def studio(models, tmp_path):
    return Studio(models, History(tmp_path / "history"), Limits(samples=8, steps=5000))
