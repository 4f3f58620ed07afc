import json
import struct

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from modalities.image.files import read_image, read_metadata
from modalities.image.modality import ImageModality
from multidiff.errors import InputError

RED, HALF_RED = (255, 0, 0), (255, 0, 0, 128)
LUMA_OF_RED = 76  # 0.299 of 255, ITU-R BT.601


def saved(image, path, **settings):
    image.save(path, **settings)
    return path


def random_pixels(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
@pytest.mark.parametrize(("channels", "white"), [(1, 255), (3, (255, 255, 255)), (4, (255, 255, 255, 255))])
def test_white_is_white_in_every_mode_of_png(tmp_path, mode, channels, white):
    path = saved(Image.new("RGBA", (3, 2), "white").convert(mode), tmp_path / "a.png")
    image = read_image(path, channels)
    assert image.size == (3, 2)
    assert image.getpixel((1, 1)) == white


@pytest.mark.parametrize("mode", ["P", "RGB", "RGBA", "CMYK"])
def test_colours_survive_every_mode_of_tiff(tmp_path, mode):
    path = saved(Image.new("RGB", (4, 4), RED).convert(mode), tmp_path / "a.tiff")
    assert read_image(path, 3).getpixel((0, 0)) == RED
    assert read_image(path, 4).getpixel((0, 0)) == (*RED, 255)
    assert read_image(path, 1).getpixel((0, 0)) == LUMA_OF_RED


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".bmp", ".png"])
def test_colours_survive_every_format(tmp_path, suffix):
    path = saved(Image.new("RGB", (16, 16), RED), tmp_path / f"a{suffix}")
    assert np.allclose(read_image(path, 3).getpixel((8, 8)), RED, atol=2)


def test_cmyk_jpeg(tmp_path):
    path = saved(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), tmp_path / "a.jpg")
    assert np.allclose(read_image(path, 3).getpixel((8, 8)), RED, atol=2)


def test_the_content_decides_the_format_and_not_the_suffix(tmp_path):
    path = saved(Image.new("RGB", (2, 2), RED), tmp_path / "a.jpg", format="PNG")
    assert read_image(path, 3).getpixel((0, 0)) == RED


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_sixteen_bits_are_scaled(tmp_path, suffix):
    levels = np.arange(0, 2**16, 257, dtype=np.uint16).reshape(16, 16)
    path = saved(Image.fromarray(levels), tmp_path / f"a{suffix}")
    assert np.array_equal(np.asarray(read_image(path, 1)), levels // 257)
    assert np.array_equal(np.asarray(read_image(path, 3))[..., 2], levels // 257)


@pytest.mark.parametrize("white", [1, 255, 65535])
def test_floats_are_on_the_smallest_scale_that_holds_them(tmp_path, white):
    values = np.linspace(0, white, 256, dtype=np.float32).reshape(16, 16)
    path = saved(Image.fromarray(values), tmp_path / "a.tiff")
    assert np.array_equal(np.asarray(read_image(path, 1)).ravel(), np.arange(256))


def test_integers_are_on_the_smallest_scale_that_holds_them(tmp_path):
    values = np.array([[0, 257, 65535]], dtype=np.int32)
    path = saved(Image.fromarray(values), tmp_path / "a.tiff")
    assert np.asarray(read_image(path, 1)).tolist() == [[0, 1, 255]]


@pytest.mark.parametrize("value", [-1.0, 1e6, float("nan")])
def test_values_on_no_scale_are_refused(tmp_path, value):
    path = saved(Image.fromarray(np.full((2, 2), value, dtype=np.float32)), tmp_path / "a.tiff")
    with pytest.raises(InputError, match=r"a\.tiff: values from .* rescale them"):
        read_image(path, 1)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff"])
def test_transparent_pixels_lie_on_white(tmp_path, suffix):
    path = saved(Image.new("RGBA", (2, 2), HALF_RED), tmp_path / f"a{suffix}", **lossless(suffix))
    assert read_image(path, 3).getpixel((0, 0)) == (255, 127, 127)
    assert read_image(path, 4).getpixel((0, 0)) == HALF_RED


def test_a_transparent_palette_entry_lies_on_white(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, 0, 0, 255])
    image.putpixel((1, 0), 1)
    path = saved(image, tmp_path / "a.png", transparency=0)
    assert [read_image(path, 3).getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (0, 0, 255)]


def lossless(suffix):
    return {"lossless": True, "exact": True} if suffix == ".webp" else {}


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff"])
def test_exif_rotation_is_applied(tmp_path, suffix):
    pixels = random_pixels(3, 5, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned clockwise by a quarter
    path = saved(Image.fromarray(pixels), tmp_path / f"a{suffix}", exif=exif, **lossless(suffix))
    assert np.array_equal(np.asarray(read_image(path, 3)), np.rot90(pixels, -1))


def exif(*entries):
    """EXIF of tags with their type, count and value, after which lie 8 bytes: the rational number 0 / -1."""
    start = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"Exif\0\0II*\0" + struct.pack("<I", 8) + start + struct.pack("<Iii", 0, -1, 0)


TURNED, NEGATIVE = (0x0112, 3, 1, 6), (0x9204, 10, 1, 38)


@pytest.mark.parametrize(
    ("content", "turns"),
    [
        (exif(TURNED, NEGATIVE), True),
        (exif((0x0112, 2, 2, ord("6"))), False),
        (b"Exif\0\0no TIFF", False),
        (b"II", False),
    ],
)
def test_damaged_exif_costs_no_picture(tmp_path, content, turns):
    pixels = random_pixels(3, 5, 3)
    path = saved(Image.fromarray(pixels), tmp_path / "a.png", exif=content)
    assert np.array_equal(np.asarray(read_image(path, 3)), np.rot90(pixels, -1) if turns else pixels)


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_of_an_animation_the_first_frame_is_read(tmp_path, suffix):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    path = saved(frames[0], tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:], **lossless(suffix))
    assert read_image(path, 3).getpixel((0, 0)) == RED


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tiff"])
def test_a_truncated_file_is_named(tmp_path, suffix):
    path = saved(Image.fromarray(random_pixels(32, 32, 3)), tmp_path / f"a{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=rf"a\{suffix}: ") as error:
        read_image(path, 3)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_named(tmp_path, content):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.png: not an image"):
        read_image(path, 3)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"a\.png: No such file"):
        read_image(tmp_path / "a.png", 3)


def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch):
    """Pillow warns above its limit and refuses above twice that."""
    path = saved(Image.new("L", (10, 10)), tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 99)
    assert read_image(path, 1).size == (10, 10)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 49)
    with pytest.raises(InputError, match=r"a\.png: more than 98 pixels"):
        read_image(path, 1)


def test_a_large_jpeg_is_shrunk_while_it_is_decoded(tmp_path, monkeypatch):
    path = saved(Image.new("RGB", (160, 120), "red"), tmp_path / "a.jpg")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 160 * 120 - 1)
    assert read_image(path, 3, (30, 20)).size == (40, 30)
    assert read_image(path, 3, (20, 100)).size == (160, 120)


def test_pixels_count_and_not_the_size_of_the_metadata(tmp_path):
    chunks = PngInfo()
    chunks.add_text("graph", "x" * 2**21, zip=True)
    path = saved(Image.new("RGB", (4, 4), RED), tmp_path / "a.png", pnginfo=chunks, icc_profile=b"y" * 2**21)
    assert read_image(path, 3).getpixel((0, 0)) == RED


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".webp", ".tiff", ".tif", ".PNG"])
def test_metadata_travels_in_the_file(tmp_path, suffix):
    metadata = {"seed": 7, "prompt": "a café\n\u732b", "nested": {"scale": 1.5, "label": None}}
    path = tmp_path / f"a{suffix}"
    ImageModality(3).write(Image.new("RGB", (4, 4)), path, metadata)
    assert read_metadata(path) == metadata


@pytest.mark.parametrize("description", ["holiday", "[1]", json.dumps({"seed": 3})])
def test_a_description_by_others_is_no_metadata(tmp_path, description):
    exif = Image.Exif()
    exif[0x010E] = description
    assert read_metadata(saved(Image.new("L", (2, 2)), tmp_path / "a.jpg", exif=exif)) == {}
    assert read_metadata(saved(Image.new("L", (2, 2)), tmp_path / "b.png")) == {}


@pytest.mark.parametrize(
    ("suffix", "channels"),
    [(suffix, channels) for suffix in (".png", ".webp", ".tiff") for channels in (1, 3, 4)]
    + [(".bmp", 1), (".bmp", 3)],
)
def test_what_is_written_is_read_back_exactly(tmp_path, suffix, channels):
    modality = ImageModality(channels)
    image = modality.to_artifact(torch.from_numpy(random_pixels(channels, 8, 6) / 127.5 - 1))
    modality.write(image, tmp_path / f"a{suffix}", {"seed": 0})
    assert np.array_equal(np.asarray(modality.read(tmp_path / f"a{suffix}")), np.asarray(image))


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = saved(Image.new("RGB", (2, 2), RED), tmp_path / "a.jpg", quality=100)
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"cannot write .*a\.jpg: EXIF"):
        ImageModality(3).write(Image.new("RGB", (2, 2)), path, {"long": "x" * 2**16})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "mode", "message"),
    [
        ("a.gif", "RGB", "suffix is not one of .png"),
        ("a.jpg", "RGBA", "no transparency; use .png"),
    ],
)
def test_what_cannot_be_written_is_said(tmp_path, name, mode, message):
    with pytest.raises(InputError, match=message):
        ImageModality(4).write(Image.new(mode, (2, 2)), tmp_path / name, {})


@pytest.mark.parametrize(("channels", "shape"), [(1, (16, 16)), (3, (16, 16, 3)), (4, (16, 16, 4))])
def test_tensor_and_artifact_are_inverse_to_the_bit(channels, shape):
    modality = ImageModality(channels)
    pixels = np.resize(np.arange(256, dtype=np.uint8), shape)
    x = modality.to_data(Image.fromarray(pixels))
    assert x.shape == (channels, 16, 16)
    assert x.dtype == torch.float32
    assert (x.min(), x.max()) == (-1, 1)
    assert np.array_equal(np.asarray(modality.to_artifact(x)), pixels)
    assert torch.equal(modality.to_data(modality.to_artifact(x)), x)


def test_artifacts_clamp_and_round():
    x = torch.tensor([[[-7.0, -1 + 0.49 / 127.5, -1 + 0.51 / 127.5, 1e30]]], requires_grad=True)
    assert np.asarray(ImageModality(1).to_artifact(x)).tolist() == [[0, 0, 1, 255]]


def test_a_tensor_takes_any_mode_into_the_channels_of_the_modality():
    assert ImageModality(1).to_data(Image.new("RGB", (2, 2), "white")).tolist() == [[[1, 1], [1, 1]]]


def test_other_numbers_of_channels_are_refused():
    with pytest.raises(InputError, match=r"1 .gray., 3 .RGB. or 4 .RGBA., not 2"):
        ImageModality(2)
