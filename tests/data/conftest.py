import pytest

from multidiff.data.streaming import remote
from tests.data.shards import COUNT, EACH, write_shards


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_shards(tmp_path_factory.mktemp("data") / "shards", COUNT, EACH)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MULTIDIFF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "WAITS", (0.0,))
    return tmp_path / "cache"
