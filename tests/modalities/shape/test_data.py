import numpy as np
import pytest
import torch

from modalities.shape.data import Furniture
from modalities.shape.furniture import LABELS
from modalities.shape.modality import ShapeModality
from multidiff.codecs import Scaling
from multidiff.data.dataset import Unaugmented
from multidiff.errors import InputError


def test_furniture_is_labelled_captioned_and_normalised(tmp_path):
    dataset = Furniture(ShapeModality(9), 256, 16, stored=512, cache=tmp_path)
    assert dataset.labels.names == LABELS
    assert dataset.shape == (9, 256)
    for i in range(16):
        facts = dataset.facts(i)
        assert facts["label"] == LABELS[i % len(LABELS)]
        assert facts["label"] in facts["caption"]
        data = dataset.data(i, np.random.default_rng(i))
        assert (data.shape, data.dtype) == ((9, 256), torch.float32)
        assert data.abs().max() <= 1 + 1e-6
        assert np.isclose(np.ptp(dataset.store[i][:, :3], axis=0).max(), 2)


def test_the_scaling_codec_brings_furniture_to_unit_scale(tmp_path):
    """The three axes of points, of normals and of colours share a deviation each."""
    dataset = Furniture(ShapeModality(9), 256, 16, stored=512, cache=tmp_path)
    data = Unaugmented(dataset)
    codec = Scaling(**Scaling.settings_from({"shared": 3}, data), shared=3)
    x0 = codec.encode(torch.stack(data[:]))
    together = x0.movedim(1, 0).reshape(3, 3, -1)
    torch.testing.assert_close(together.square().mean(dim=(1, 2)).sqrt(), torch.ones(3), rtol=1e-3, atol=0)
    torch.testing.assert_close(codec.decode(x0), torch.stack(data[:]))


def test_furniture_is_made_of_known_classes(tmp_path):
    dataset = Furniture(ShapeModality(3), 16, 4, labels=["mug"], stored=64, cache=tmp_path)
    assert set(dataset.labels) == set(dataset.labels.names) == {"mug"}
    with pytest.raises(InputError, match="there are: bed, bottle"):
        Furniture(ShapeModality(3), 16, 4, labels=["piano"], cache=tmp_path)
    with pytest.raises(InputError, match=r"data\.points is from 1 to data\.stored=64"):
        Furniture(ShapeModality(3), 65, 4, stored=64, cache=tmp_path)
    with pytest.raises(InputError, match=r"data\.count is the number of shapes, at least 1, not 0"):
        Furniture(ShapeModality(3), 16, 0, cache=tmp_path)


def test_other_seeds_make_other_shapes(tmp_path):
    first, again, other = (Furniture(ShapeModality(3), 16, 2, stored=64, seed=s, cache=tmp_path) for s in (0, 0, 1))
    assert first.content == again.content != other.content
    assert not np.array_equal(first.store[0], other.store[0])
