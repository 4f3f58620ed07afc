import pytest

from tests.options.tiny_data import make


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return make(tmp_path_factory.mktemp("data"))
