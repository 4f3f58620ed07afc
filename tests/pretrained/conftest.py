"""No test of pretrained pipelines reaches a network, and each starts from the same folder, built once."""

import shutil
import socket
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

collect_ignore_glob = [] if find_spec("diffusers") and find_spec("peft") else ["test_*.py"]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def refused(*_):
        raise AssertionError("a pretrained pipeline reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """The folder of a tiny Stable Diffusion, and the pipeline of diffusers that it was saved from."""
    from tests.pretrained import folders  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("saved") / "sd"
    return folder, folders.stable_diffusion(folder)


@pytest.fixture(scope="session")
def saved_xl(tmp_path_factory):
    """The folder of a tiny Stable Diffusion XL, and its pipeline."""
    from tests.pretrained import folders  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("saved") / "xl"
    return folder, folders.stable_diffusion_xl(folder)


@pytest.fixture
def folder(saved, tmp_path):
    """A copy of the folder, to change."""
    return shutil.copytree(saved[0], tmp_path / "sd")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """Four pictures of 20x16 pixels, three of which have a caption."""
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(4):
        noise = np.random.default_rng(i).integers(0, 255, (20, 16, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{i}.png")
        if i:
            (folder / f"{i}.txt").write_text(f"fox {i}")
    return folder
