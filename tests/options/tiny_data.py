"""A few files of every kind that the data configs read, and the settings with which they train in seconds."""

import pickle

import datasets
import numpy as np
import soundfile
import trimesh
from PIL import Image

from tests.data.shards import picture, tone, write_shards
from tests.modalities.image.test_fonts import LAYERS, write_font
from tests.modalities.image.test_idx import write_idx

IMAGE, AUDIO, SHAPE = "image", "audio", "shape"
SECONDS, RATE = 0.128, 8000

MODALITIES = {
    IMAGE: {
        "settings": [],
        "backbone": [
            ["unet_small", "backbone.widths=[8,16]", "backbone.head_size=8"],
            ["unet", "backbone.widths=[8,8,8]", "backbone.head_size=8"],
            ["unet_fitted", "backbone.widths=[8,8]", "backbone.head_size=8"],
            ["dit_small", "backbone.width=8", "backbone.head_size=8", "backbone.depth=1"],
            ["dit", "backbone.width=8", "backbone.head_size=8", "backbone.depth=1"],
        ],
        "codec": ["identity", "scaling"],
    },
    AUDIO: {
        "settings": [f"modality.sample_rate={RATE}"],
        "backbone": [
            ["unet1d_small", "backbone.widths=[8,16]", "backbone.head_size=8"],
            ["unet1d_fitted", "backbone.widths=[8,8]", "backbone.head_size=8"],
            ["unet1d", "backbone.widths=[8,8,8,8,8,8,8,8]", "backbone.head_size=8"],
            ["dit1d", "backbone.width=8", "backbone.head_size=8", "backbone.depth=1"],
        ],
        "codec": ["waveform", "patched", "stft", "stft_bands"],
    },
    SHAPE: {
        "settings": [],
        "backbone": [
            [name, "backbone.width=8", "backbone.latent_width=8", "backbone.latents=4", "backbone.head_size=8"]
            for name in ("points_latent", "points_latent_small", "points_latent_tiny", "points_fitted")
        ]
        + [["points_plain", "backbone.width=8", "backbone.head_size=8", "backbone.depth=1"]],
        "codec": ["point_scaling", "scaling"],
    },
}
"""For each modality, its own settings, and the options of groups that depend on it, small."""

COUNT = 40


def make(root):
    """The files, below ``root``; settings of each option of the group ``data``, with the modality that reads it."""
    folders = {
        name: root / name
        for name in ("pictures", "drawings", "sounds", "meshes", "modelnet", "clouds", "speech", "idx", "cifar")
    }
    for folder in folders.values():
        folder.mkdir()
    write_font(root / "font.ttf", LAYERS, range(0x1F400, 0x1F400 + COUNT))
    for i in range(COUNT):
        label = ("a", "b")[i % 2]
        for name in ("pictures", "drawings", "sounds", "meshes"):
            (folders[name] / label).mkdir(exist_ok=True)
            (folders[name] / label / f"{i}.txt").write_text(f"{label} number {i % 3}")
        Image.new("RGB", (17, 16), (10 * i, 5 * i, 255 - 10 * i)).save(folders["pictures"] / label / f"{i}.png")
        (folders["drawings"] / label / f"{i}.svg").write_text(
            f'<svg viewBox="0 0 9 9" xmlns="http://www.w3.org/2000/svg"><circle cx="{i % 9}" cy="4" r="3"/></svg>'
        )
        (folders["sounds"] / label / f"{i}.wav").write_bytes(tone(i))
        box = trimesh.creation.box((1, 1 + i / 10, 1))
        box.export(folders["meshes"] / label / f"{i}.glb")
        (folders["modelnet"] / label / "train").mkdir(parents=True, exist_ok=True)
        box.export(folders["modelnet"] / label / "train" / f"{i}.off")
        (folders["clouds"] / label / "train").mkdir(parents=True, exist_ok=True)
        points = np.random.default_rng(i).standard_normal((64, 3)).astype(np.float32)
        np.save(folders["clouds"] / label / "train" / f"{i}.npy", points)
        (folders["speech"] / label).mkdir(exist_ok=True)
        soundfile.write(folders["speech"] / label / f"s{i}_nohash_0.wav", points.repeat(80, 1).ravel()[:RATE] / 4, RATE)
    for name in ("validation_list.txt", "testing_list.txt"):
        (folders["speech"] / name).touch()
    random = np.random.default_rng(0)
    write_idx(folders["idx"] / "train-images-idx3-ubyte", random.integers(0, 256, (COUNT, 16, 16)))
    write_idx(folders["idx"] / "train-labels-idx1-ubyte", np.arange(COUNT) % 3)
    for i in range(1, 6):
        batch = {b"data": random.integers(0, 256, (8, 3072), np.uint8), b"labels": [0, 1] * 4}
        (folders["cifar"] / f"data_batch_{i}").write_bytes(pickle.dumps(batch))
    (folders["cifar"] / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"a", b"b"]}))
    write_shards(root / "image_shards", 2, COUNT // 2, picture, "png")
    write_shards(root / "audio_shards", 2, COUNT // 2, tone, "wav")
    mesh = (folders["meshes"] / "a" / "0.glb").read_bytes()
    write_shards(root / "mesh_shards", 2, COUNT // 2, lambda n: mesh, "glb")
    encoded = {"image": (picture, "png"), "audio": (tone, "wav"), "mesh": (lambda n: mesh, "glb")}
    for column, (encode, suffix) in encoded.items():
        files = [{"bytes": encode(n), "path": f"{n}.{suffix}"} for n in range(COUNT)]
        rows = {
            column: files,
            "label": [n % 2 for n in range(COUNT)],
            "text": [f"number {n % 3}" for n in range(COUNT)],
        }
        datasets.Dataset.from_dict(rows).save_to_disk(str(root / f"{column}_table"))
    return settings(root)


def settings(root):
    """Modality and settings of each option of the group ``data``."""
    sounds, points = [f"data.seconds={SECONDS}"], ["data.points=16", "data.stored=32"]
    gray, few = ["modality.channels=1"], [f"data.count={COUNT}"]
    return {
        "digits": (IMAGE, gray),
        "idx": (IMAGE, [f"data.root={root}/idx", *gray]),
        "cifar": (IMAGE, [f"data.root={root}/cifar"]),
        "image_folder": (IMAGE, [f"data.root={root}/pictures", "data.size=16"]),
        "svg_folder": (IMAGE, [f"data.root={root}/drawings", "data.size=16"]),
        "colour_font": (IMAGE, [f"data.root={root}/font.ttf", "data.size=16"]),
        "emoji": (IMAGE, ["data.size=16"]),
        "emoji_scenes": (IMAGE, few),
        "image_shards": (IMAGE, [f"data.shards={root}/image_shards", "data.size=16"]),
        "image_table": (IMAGE, [f"data.root={root}/image_table", "data.size=16"]),
        "drums": (AUDIO, [*few, *sounds]),
        "audio_folder": (AUDIO, [f"data.root={root}/sounds", *sounds]),
        "audio_shards": (AUDIO, [f"data.shards={root}/audio_shards", *sounds]),
        "audio_table": (AUDIO, [f"data.root={root}/audio_table", *sounds]),
        "speech_commands": (AUDIO, [f"data.root={root}/speech", "data.words=[a,b]"]),
        "furniture": (SHAPE, [*few, *points]),
        "mesh_folder": (SHAPE, [f"data.root={root}/meshes", *points]),
        "mesh_shards": (SHAPE, [f"data.shards={root}/mesh_shards", *points]),
        "mesh_table": (SHAPE, [f"data.root={root}/mesh_table", *points]),
        "modelnet": (SHAPE, [f"data.root={root}/modelnet", *points]),
        "shapenet_points": (
            SHAPE,
            [f"data.root={root}/clouds", "data.points=16", "data.stored=64", "modality.channels=3"],
        ),
    }
