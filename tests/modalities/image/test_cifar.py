import pickle

import numpy as np
import pytest

from modalities.image.data import CIFAR
from modalities.image.modality import ImageModality
from multidiff.errors import InputError

GRAY, RGB = ImageModality(1), ImageModality(3)


def pixels_of(dataset, index, seed=0):
    x0 = dataset.data(index, np.random.default_rng(seed))
    return ((x0 + 1) * 127.5).round().numpy().astype(np.uint8)


def random_pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


class Evil:
    """Would make a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


class TestCIFAR:
    NAMES = (b"airplane", b"automobile", b"bird")

    def fill(self, root, protocol=2):
        root.mkdir(exist_ok=True)
        for i, name in enumerate([*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]):
            batch = {b"data": random_pixels(2, 3072, seed=i), b"labels": [i % 3, 2], b"filenames": [b"a.png", b"b.png"]}
            (root / name).write_bytes(pickle.dumps(batch, protocol))
        (root / "batches.meta").write_bytes(pickle.dumps({b"label_names": list(self.NAMES)}, protocol))

    @pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
    @pytest.mark.parametrize("place", ["", "cifar-10-batches-py"])
    def test_cifar_10(self, tmp_path, protocol, place):
        self.fill(tmp_path / place, protocol)
        dataset = CIFAR(RGB, tmp_path)
        assert (len(dataset), dataset.shape) == (10, (3, 32, 32))
        assert dataset.labels.names == ("airplane", "automobile", "bird")
        assert dataset.labels.indices.tolist() == [0, 2, 1, 2, 2, 2, 0, 2, 1, 2]
        assert np.array_equal(pixels_of(dataset, 3), random_pixels(2, 3072, seed=1)[1].reshape(3, 32, 32))
        assert len(CIFAR(RGB, tmp_path, "test")) == 2

    def test_cifar_100_has_its_fine_classes(self, tmp_path):
        batch = {b"data": random_pixels(2, 3072), b"fine_labels": [1, 0], b"coarse_labels": [0, 0]}
        (tmp_path / "test").write_bytes(pickle.dumps(batch))
        (tmp_path / "meta").write_bytes(pickle.dumps({b"fine_label_names": [b"apple", b"bee"]}))
        dataset = CIFAR(RGB, tmp_path, "test")
        assert (list(dataset.labels), dataset.labels.names) == (["bee", "apple"], ("apple", "bee"))

    def test_flips_only_when_asked(self, tmp_path):
        self.fill(tmp_path)
        plain, flipped = CIFAR(RGB, tmp_path), CIFAR(RGB, tmp_path, flip=True)
        shown = {pixels_of(flipped, 0, seed).tobytes() for seed in range(20)}
        assert shown == {pixels_of(plain, 0).tobytes(), pixels_of(plain, 0)[..., ::-1].tobytes()}
        assert {pixels_of(plain, 0, seed).tobytes() for seed in range(20)} < shown

    @pytest.mark.parametrize("name", ["data_batch_3", "batches.meta"])
    def test_a_file_that_would_run_code_is_refused(self, tmp_path, name):
        self.fill(tmp_path / "root")
        (tmp_path / "root" / name).write_bytes(pickle.dumps({b"data": Evil(tmp_path / "made")}))
        with pytest.raises(InputError, match=rf"{name}: refused, because it would run \w+\.open: not a file of CIFAR"):
            CIFAR(RGB, tmp_path / "root")
        assert not (tmp_path / "made").exists()

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "truncated or damaged"),
            (b"text", "data_batch_1: "),
            (pickle.dumps([1]), "has no 'data'"),
            (pickle.dumps({b"data": random_pixels(2, 3072), b"labels": [0]}), "expected 1 rows of 3072 bytes"),
            (
                pickle.dumps({b"data": random_pixels(1, 3072), b"labels": [7]}),
                "names 3 classes, and there is a label 7",
            ),
            (pickle.dumps({b"data": random_pixels(1, 3072), b"labels": ["x"]}), "expected labels that count from 0"),
        ],
    )
    def test_a_wrong_batch_is_named(self, tmp_path, content, message):
        self.fill(tmp_path)
        (tmp_path / "data_batch_1").write_bytes(content)
        with pytest.raises(InputError, match=message):
            CIFAR(RGB, tmp_path)

    def test_every_truncation_is_an_input_error(self, tmp_path):
        self.fill(tmp_path)
        content = (tmp_path / "data_batch_1").read_bytes()
        for kept in range(0, len(content) - 1, 61):
            (tmp_path / "data_batch_1").write_bytes(content[:kept])
            with pytest.raises(InputError, match="data_batch_1"):
                CIFAR(RGB, tmp_path)

    def test_missing_files_and_other_channels_are_named(self, tmp_path):
        with pytest.raises(InputError, match=r"no CIFAR in .*expected the Python version, with batches\.meta or meta"):
            CIFAR(RGB, tmp_path)
        self.fill(tmp_path)
        (tmp_path / "data_batch_4").unlink()
        with pytest.raises(InputError, match="data_batch_4: No such file"):
            CIFAR(RGB, tmp_path)
        with pytest.raises(InputError, match=r"CIFAR have 3 channels: set modality\.channels=3, not 1"):
            CIFAR(GRAY, tmp_path)
