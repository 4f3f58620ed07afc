import pytest

from tests.options.commands import train
from tests.options.tiny_data import make


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return make(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def teacher(data, tmp_path_factory):
    """A model of each modality, trained for two steps, by its data option."""
    made = {}

    def model(option, overrides):
        if option not in made:
            folder = tmp_path_factory.mktemp("teacher")
            train(folder, [*overrides, "run_dir=run"])
            made[option] = folder / "run"
        return made[option]

    return model
