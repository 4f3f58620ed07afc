import errno

import numpy as np
import pytest
from PIL import Image

from modalities.audio.clip import AudioClip
from modalities.audio.modality import AudioModality
from modalities.image.modality import ImageModality
from modalities.shape.cloud import PointCloud
from modalities.shape.modality import ShapeModality
from multidiff.data import files
from multidiff.errors import DiskFullError
from multidiff.sampling.samples import claimed, write_samples

PLAN = {"samples": [{}]}
SAMPLES = {
    "image": (ImageModality(1), Image.new("L", (8, 8)), ".png"),
    "audio": (AudioModality(8000), AudioClip(np.zeros((1, 8)), 8000), ".wav"),
    "shape": (ShapeModality(6), PointCloud(np.eye(3), np.eye(3)), ".ply"),
}


@pytest.mark.parametrize("kind", SAMPLES)
def test_a_full_disk_ends_sampling_and_is_called_that(tmp_path, monkeypatch, kind):
    modality, artifact, suffix = SAMPLES[kind]
    out = tmp_path / "out"

    def full(path):
        if len(list(out.glob(f"0*{suffix}"))) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "_sync", full)
    requested = iter(range(9))
    with (
        pytest.raises(
            DiskFullError, match=rf"^the disk is full: .* in {out}; 2 files were written, without a record; free some"
        ),
        claimed(out),
    ):
        write_samples(modality, ((i, artifact) for i in requested), PLAN, out, suffix)
    assert sorted(path.name for path in out.iterdir()) == [f"00000{suffix}", f"00001{suffix}"]
    assert next(requested) == 3  # no further sample was generated
