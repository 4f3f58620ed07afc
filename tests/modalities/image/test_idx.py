import gzip
import struct

import numpy as np
import pytest

from modalities.image.data import IDX
from modalities.image.modality import ImageModality
from multidiff.errors import InputError

GRAY, RGB = ImageModality(1), ImageModality(3)


def pixels_of(dataset, index, seed=0):
    x0 = dataset.data(index, np.random.default_rng(seed))
    return ((x0 + 1) * 127.5).round().numpy().astype(np.uint8)


def random_pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write_idx(path, values):
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    content = header + values.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


class TestIDX:
    IMAGES = random_pixels(5, 6, 4)
    LABELS = np.array([1, 0, 3, 9, 1])

    def fill(self, root, prefix="train", suffix=".gz", labels=LABELS):
        write_idx(root / f"{prefix}-images-idx3-ubyte{suffix}", self.IMAGES)
        write_idx(root / f"{prefix}-labels-idx1-ubyte{suffix}", labels)

    @pytest.mark.parametrize("suffix", ["", ".gz"])
    @pytest.mark.parametrize(("prefix", "split"), [("train", "train"), ("t10k", "test")])
    def test_mnist(self, tmp_path, suffix, prefix, split):
        self.fill(tmp_path, prefix, suffix)
        dataset = IDX(GRAY, tmp_path, split)
        assert dataset.shape == (1, 6, 4)
        assert dataset.labels.indices.tolist() == self.LABELS.tolist()
        assert dataset.labels.names == tuple("0123456789")
        assert all(np.array_equal(pixels_of(dataset, i)[0], self.IMAGES[i]) for i in range(5))

    def test_emnist_is_set_upright_and_its_letters_count_from_one(self, tmp_path):
        self.fill(tmp_path, "emnist-letters-train", labels=np.array([1, 2, 26, 3, 1]))
        dataset = IDX(GRAY, tmp_path)
        assert np.array_equal(pixels_of(dataset, 3)[0], self.IMAGES[3].T)
        assert list(dataset.labels) == ["1", "2", "26", "3", "1"]
        assert len(dataset.labels.names) == 26

    def test_of_several_subsets_one_must_be_chosen(self, tmp_path):
        self.fill(tmp_path, "emnist-digits-test")
        self.fill(tmp_path, "emnist-mnist-test")
        with pytest.raises(InputError, match=r"set data\.subset to one of digits, mnist"):
            IDX(GRAY, tmp_path, "test")
        assert len(IDX(GRAY, tmp_path, "test", subset="digits")) == 5
        with pytest.raises(InputError, match="no test files of the subset 'letters'"):
            IDX(GRAY, tmp_path, "test", subset="letters")

    def test_another_magic_number_is_named(self, tmp_path):
        self.fill(tmp_path, suffix="")
        (tmp_path / "train-images-idx3-ubyte").write_bytes(b"GIF89a")
        with pytest.raises(
            InputError, match="idx3-ubyte: not bytes in IDX format: begins with 47 49 46 38, not 00 00 08 03"
        ):
            IDX(GRAY, tmp_path)

    @pytest.mark.parametrize("suffix", ["", ".gz"])
    @pytest.mark.parametrize("kept", [6, 40, -1])
    def test_a_truncated_file_is_named(self, tmp_path, suffix, kept):
        self.fill(tmp_path, suffix=suffix)
        path = tmp_path / f"train-images-idx3-ubyte{suffix}"
        path.write_bytes(path.read_bytes()[:kept])
        with pytest.raises(InputError, match=r"train-images-idx3-ubyte.*: (truncated|fewer bytes)"):
            IDX(GRAY, tmp_path)

    def test_dimensions_beyond_all_memory_are_just_wrong(self, tmp_path):
        self.fill(tmp_path, suffix="")
        (tmp_path / "train-images-idx3-ubyte").write_bytes(bytes([0, 0, 8, 3]) + b"\xff" * 12)
        with pytest.raises(InputError, match="fewer bytes than the 79228162458924105385300197375"):
            IDX(GRAY, tmp_path)

    def test_what_is_no_gzip_is_named(self, tmp_path):
        self.fill(tmp_path)
        (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(b"no gzip")
        with pytest.raises(InputError, match=r"labels-idx1-ubyte\.gz: Not a gzipped file"):
            IDX(GRAY, tmp_path)

    def test_missing_files_are_named(self, tmp_path):
        with pytest.raises(InputError, match=r"no train files in .*expected names like train-images-idx3-ubyte\.gz"):
            IDX(GRAY, tmp_path)
        self.fill(tmp_path)
        (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
        with pytest.raises(InputError, match=r"train-images-idx3-ubyte\.gz has no labels beside it"):
            IDX(GRAY, tmp_path)

    def test_images_and_labels_must_be_as_many(self, tmp_path):
        self.fill(tmp_path, labels=self.LABELS[:4])
        with pytest.raises(InputError, match=r"holds 5 images and train-labels-idx1-ubyte\.gz 4 labels"):
            IDX(GRAY, tmp_path)

    def test_other_splits_channels_and_roots_are_refused(self, tmp_path):
        with pytest.raises(InputError, match=r"data\.split is one of train, test, not 'val'"):
            IDX(GRAY, tmp_path, "val")
        with pytest.raises(InputError, match=r"set modality\.channels=1, not 3"):
            IDX(RGB, tmp_path)
        with pytest.raises(InputError, match=r"nowhere is not a folder: set data\.root"):
            IDX(GRAY, tmp_path / "nowhere")
