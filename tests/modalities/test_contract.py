"""What the shipped modalities share: paths given as text, and answers to other artifacts and regions than theirs."""

import numpy as np
import pytest
from PIL import Image

from modalities.audio.clip import AudioClip
from modalities.audio.modality import AudioModality
from modalities.image.modality import ImageModality
from modalities.shape.cloud import PointCloud
from modalities.shape.modality import ShapeModality
from multidiff.errors import InputError

POINTS = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32) / 4
MODALITIES = {
    "image": (ImageModality(1), Image.new("L", (8, 8)), (1, 8, 8), "one mask, an array"),
    "audio": (AudioModality(1000), AudioClip(np.zeros((1, 100), np.float32), 1000), (1, 100), "start and end in sec"),
    "shape": (ShapeModality(3), PointCloud(POINTS), (3, 16), "fraction of the points"),
}
each_modality = pytest.mark.parametrize(
    ("modality", "artifact", "shape", "region"), MODALITIES.values(), ids=MODALITIES
)


@each_modality
def test_a_path_may_be_a_text(tmp_path, modality, artifact, shape, region):
    path = tmp_path / f"ünï côde{modality.suffixes[0]}"
    modality.write(artifact, str(path), {})
    assert modality.to_data(modality.read(str(path))).equal(modality.to_data(modality.read(path)))


@each_modality
@pytest.mark.parametrize("other", ["a.file", np.zeros((8, 8))], ids=["path", "array"])
def test_another_artifact_is_refused(modality, artifact, shape, region, other):
    with pytest.raises(InputError, match=f"class {type(artifact).__name__} is needed, .* got {type(other).__name__}"):
        modality.fitted(other, shape)


@each_modality
@pytest.mark.parametrize("given", [(), ("a.file",), (0.1, 0.2, 0.3)], ids=["none", "path", "three"])
def test_another_region_is_refused(modality, artifact, shape, region, given):
    with pytest.raises(InputError, match=f"the part to regenerate is .*{region}"):
        modality.mask(shape, *given)
