import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from modalities.image import preparation
from modalities.image.data import Digits
from modalities.image.modality import ImageModality
from multidiff.data.folder import Folder
from multidiff.errors import InputError

GRAY, RGB = ImageModality(1), ImageModality(3)


def generator(seed=0):
    return np.random.default_rng(seed)


def pixels_of(dataset, index, seed=0):
    return ((dataset.data(index, generator(seed)) + 1) * 127.5).round().to(torch.uint8).numpy()


def random_pixels(*shape, seed=0):
    return generator(seed).integers(0, 256, shape, dtype=np.uint8)


def save(pixels, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


class TestDigits:
    def test_values_and_labels_are_those_of_scikit_learn(self):
        dataset, digits = Digits(GRAY), load_digits()
        assert len(dataset) == len(digits.images)
        assert dataset.shape == (1, 8, 8)
        assert dataset.labels.names == tuple("0123456789")
        assert dataset.labels.indices.tolist() == digits.target.tolist()
        for index in (0, 7, 1796):
            x0 = dataset.data(index, generator())
            assert x0.dtype == torch.float32
            assert torch.equal(x0, torch.tensor(digits.images[index][None] / 8 - 1, dtype=torch.float32))

    def test_they_are_gray(self):
        with pytest.raises(InputError, match=r"digits have 1 channels: set modality\.channels=1, not 3"):
            Digits(RGB)

    def test_content_is_the_same_each_time(self):
        assert Digits(GRAY).content == Digits(GRAY).content


class TestImageFolder:
    @pytest.fixture
    def root(self, tmp_path):
        for i, name in enumerate(("cats/a.png", "cats/b.png", "dogs/c.bmp")):
            save(random_pixels(12, 20, 3, seed=i), tmp_path / "root" / name)
        return tmp_path / "root"

    def folder(self, root, size=12, modality=RGB, **settings):
        return Folder(modality, root, size=size, cache=root.parent / "cache", **settings)

    def test_the_middle_is_kept_to_the_bit_where_nothing_is_resized(self, root):
        dataset = self.folder(root)
        assert len(dataset) == 3
        assert dataset.shape == (3, 12, 12)
        assert np.array_equal(pixels_of(dataset, 0), random_pixels(12, 20, 3)[:, 4:16].transpose(2, 0, 1))
        assert list(dataset.labels) == ["cats", "cats", "dogs"]
        assert list(dataset.fields) == ["label"]

    def test_shrinking_is_antialiased(self, tmp_path):
        board = np.indices((64, 64)).sum(axis=0) % 2 * np.uint8(255)
        save(board.astype(np.uint8), tmp_path / "root/board.png")
        shrunk = pixels_of(self.folder(tmp_path / "root", 8, GRAY), 0).astype(int)
        assert abs(shrunk - 127.5).max() < 4

    def test_height_and_width_may_differ(self, root):
        dataset = self.folder(root, [6, 10])
        assert dataset.shape == (3, 6, 10)
        assert dataset.data(2, generator()).shape == (3, 6, 10)

    def test_captions_come_along(self, root):
        (root / "cats/b.txt").write_text("a cat")
        assert self.folder(root).fields["caption"] == ["", "a cat", ""]

    def test_flips_and_crops_only_when_asked(self, root):
        dataset = self.folder(root)
        assert all(np.array_equal(pixels_of(dataset, 0, seed), pixels_of(dataset, 0)) for seed in range(20))

    def test_flips_mirror_about_half_and_are_reproducible(self, root):
        plain, flipped = pixels_of(self.folder(root), 0), self.folder(root, flip=True)
        mirrored = [np.array_equal(pixels_of(flipped, 0, seed), plain[..., ::-1]) for seed in range(100)]
        kept = [np.array_equal(pixels_of(flipped, 0, seed), plain) for seed in range(100)]
        assert [not m for m in mirrored] == kept
        assert 30 < sum(mirrored) < 70
        assert mirrored == [np.array_equal(pixels_of(flipped, 0, seed), plain[..., ::-1]) for seed in range(100)]

    def test_random_crops_reach_every_place_and_are_reproducible(self, root):
        whole, dataset = random_pixels(12, 20, 3).transpose(2, 0, 1), self.folder(root, crop="random")
        crops = [pixels_of(dataset, 0, seed) for seed in range(200)]
        lefts = {left for crop in crops for left in range(9) if np.array_equal(crop, whole[:, :, left : left + 12])}
        assert lefts == set(range(9))
        assert all(np.array_equal(crop, pixels_of(dataset, 0, seed)) for seed, crop in enumerate(crops))

    def test_the_second_run_reads_no_image(self, root, monkeypatch):
        first = self.folder(root)

        def forbidden(path, *settings):
            raise AssertionError(f"{path} was read again")

        monkeypatch.setattr(preparation, "read_image", forbidden)
        second = self.folder(root)
        assert np.array_equal(pixels_of(first, 1), pixels_of(second, 1))
        assert first.content == second.content
        with pytest.raises(InputError, match="read again"):
            self.folder(root, size=10)

    def test_what_cannot_be_read_is_left_out_with_its_label(self, root, caplog):
        (root / "cats/a.png").write_bytes(b"no image")
        dataset = self.folder(root)
        assert list(dataset.labels) == ["cats", "dogs"]
        assert np.array_equal(pixels_of(dataset, 0), random_pixels(12, 20, 3, seed=1)[:, 4:16].transpose(2, 0, 1))
        assert "1 of 3 image files" in caplog.text
        assert "(cats/a.png: not an image)" in caplog.text

    def test_more_than_allowed_cannot_be_read(self, root):
        (root / "cats/a.png").write_bytes(b"no image")
        with pytest.raises(InputError, match=r"cats/a\.png: not an image.* set data\.max_unreadable to at least 1"):
            self.folder(root, max_unreadable=0)

    def test_nothing_can_be_read(self, tmp_path):
        for name in ("a.png", "b.jpg"):
            (tmp_path / name).write_bytes(b"")
        expected = f"no readable image in {tmp_path}/: 2 files tried (a.png: not an image; b.jpg: not an image)"
        with pytest.raises(InputError) as error:
            Folder(RGB, tmp_path, size=8, cache=tmp_path.parent / "cache")
        assert str(error.value) == expected

    def test_smaller_images_are_left_out_by_name_and_never_enlarged(self, root, caplog):
        save(random_pixels(30, 11, 3), root / "dogs/d.png")
        for crop in ("center", "random"):
            caplog.clear()
            assert len(self.folder(root, crop=crop)) == 3
            assert "dogs/d.png: 11x30 pixels, smaller than 12x12; data.size=11 fits" in caplog.text
        assert len(self.folder(root, size=11)) == 4
        with pytest.raises(InputError, match=r"data\.size=\[30, 11\] fits"):
            self.folder(root, size=(12, 13), max_unreadable=0)

    def test_an_unknown_setting_is_named(self, root):
        with pytest.raises(InputError, match=r"data\.colour is not a setting of image data, which has size, crop"):
            self.folder(root, colour=3)
        with pytest.raises(InputError, match="ImagePreparation: flip must be of type bool, got 3"):
            self.folder(root, flip=3)
        with pytest.raises(InputError, match="size must be of type int or a list, got 8"):
            self.folder(root, size=8.5)

    @pytest.mark.parametrize("size", [0, -3, [8], [8, 8, 8]])
    def test_a_wrong_size_is_named(self, root, size):
        with pytest.raises(InputError, match=r"data\.size is a number of pixels, or \[height, width\], not"):
            self.folder(root, size=size)

    def test_a_wrong_crop_is_named(self, root):
        with pytest.raises(InputError, match=r"data\.crop is one of center, random, not 'centre'"):
            self.folder(root, crop="centre")


@pytest.mark.parametrize("size", [(900, 900), (900, 910), (640, 1200), (1200, 640), (700, 1100), (600, 1500)])
def test_in_buckets_little_is_cut_and_the_area_stays(size, tmp_path):
    Image.new("RGB", size).save(tmp_path / "a.png")
    shape = preparation.ImagePreparation(RGB, 512, buckets=64).prepare(tmp_path / "a.png").shape[1:]
    scale = max(shape[0] / size[1], shape[1] / size[0])
    assert all(side % 64 == 0 for side in shape)
    assert max(size[1] * scale - shape[0], size[0] * scale - shape[1]) <= 32 + 1e-6
    assert 0.75 < shape[0] * shape[1] / 512**2 < 1.25


def test_buckets_that_cannot_be_used_are_refused():
    for settings in ({"buckets": 0}, {"buckets": 128}, {"buckets": 8, "crop": "random"}):
        with pytest.raises(InputError, match=r"data\.buckets is a number of pixels"):
            preparation.ImagePreparation(RGB, 64, **settings)
