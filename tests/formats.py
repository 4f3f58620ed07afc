"""A small good file of each format, damaged variants, and what reads it: for tests and for benchmarks/fuzz.py."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow
import soundfile
import torch
import trimesh
import yaml
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from modalities.audio.modality import AudioModality
from modalities.image.modality import ImageModality
from modalities.shape.cloud import PointCloud
from modalities.shape.modality import ShapeModality
from multidiff.data.dataset import Dataset
from multidiff.data.folder import preparation_of
from multidiff.data.scan import fields_of, find_entries
from multidiff.data.streaming.shards import ShardDataset
from multidiff.data.streaming.table import TableDataset
from multidiff.evaluation.evaluated import EvaluatedFiles, EvaluatedModel
from multidiff.modality import Modality
from multidiff.model import in_force
from multidiff.sampling.model_directory import load
from multidiff.sampling.pipeline import Pipeline
from multidiff.sampling.reproduce import plan_from
from multidiff.sampling.samples import metadata, read_record, write_record, write_samples
from multidiff.training.checkpoints import is_intact, newest_checkpoint
from multidiff.training.run_directory import check_same_run, read_settings
from multidiff.training.settings import decided
from tests.data.shards import picture, write_shards
from tests.mutations import mutated, mutated_document
from tests.tiny import tiny_train


@dataclass(frozen=True)
class Format:
    """A format with a file of it.

    Attributes:
        name: one for each format.
        path: of the file, with everything around it that `read` needs.
        content: the good file.
        variants: damaged ones.
        read: reads ``path`` as users do.
    """

    name: str
    path: Path
    content: bytes
    variants: st.SearchStrategy[bytes]
    read: Callable[[Path], Any]


def of_bytes(path: Path, read: Callable[[Path], Any]) -> Format:
    """The format of the file at ``path``, with changes to its bytes."""
    content = path.read_bytes()
    return Format(path.name, path, content, mutated(content), read)


def of_documents(name: str, path: Path, read: Callable[[Path], Any]) -> Format:
    """The format of the YAML or JSON at ``path``, with changes to its values and to its bytes."""
    content = path.read_bytes()
    value, dump = (json.loads(content), json.dumps) if path.suffix == ".json" else (yaml.safe_load(content), _yaml)
    documents = mutated_document(value).map(lambda changed: dump(changed).encode())
    return Format(name, path, content, documents | documents | mutated(content), read)


def images(folder: Path) -> Iterator[Format]:
    """PNG, JPEG, WebP, BMP and TIFF."""
    modality = ImageModality(3)
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    for suffix in (".png", ".jpg", ".webp", ".bmp", ".tiff"):
        modality.write(Image.fromarray(pixels), folder / f"rgb{suffix}", {"seed": 1})
        yield of_bytes(folder / f"rgb{suffix}", _reader(modality, size=8))
    known = PngImagePlugin.PngInfo()
    known.add_itxt("text", "a" * 50, zip=True)
    gray = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    gray.save(folder / "gray16.png", pnginfo=known, transparency=0, icc_profile=bytes(100))
    yield of_bytes(folder / "gray16.png", _reader(modality, size=8))


def sounds(folder: Path) -> Iterator[Format]:
    """WAV, FLAC, Ogg Vorbis, MP3 and AIFF, at a rate that is converted."""
    modality = AudioModality(16000)
    sound = 0.5 * np.sin(np.arange(1200) / 3)
    for suffix in (".wav", ".flac", ".ogg", ".mp3", ".aiff"):
        with soundfile.SoundFile(folder / f"tone{suffix}", "w", 8000, 1) as file:
            file.comment = json.dumps({"multidiff": {"seed": 1}})
            file.write(sound)
        yield of_bytes(folder / f"tone{suffix}", _reader(modality, seconds=0.1))


def shapes(folder: Path) -> Iterator[Format]:
    """Meshes and points in every format that is written."""
    modality = ShapeModality(9)
    sphere = trimesh.creation.icosphere(1)
    for suffix in (".glb", ".gltf", ".obj", ".ply", ".stl", ".off", ".3mf"):
        place = folder / suffix[1:]
        place.mkdir()
        sphere.export(place / f"sphere{suffix}")
        yield of_bytes(place / f"sphere{suffix}", _reader(modality, points=64))
    points = np.random.default_rng(0).normal(size=(40, 3))
    cloud = PointCloud(points, points, np.zeros((40, 3), np.uint8))
    for suffix in (".ply", ".npz"):
        modality.write(cloud, folder / f"cloud{suffix}", {"seed": 1})
        yield of_bytes(folder / f"cloud{suffix}", _reader(modality, points=32, stored=40))
    np.save(folder / "points.npy", points)
    yield of_bytes(folder / "points.npy", _reader(ShapeModality(3), points=32, stored=40))


def documents(folder: Path) -> Iterator[Format]:
    """What MultiDiff itself writes: models, sampler files, records and runs."""
    run = folder / "run"
    tiny_train(run, "trainer.max_steps=1")
    pipeline = load(run, "cpu")
    yield of_documents("model", run / "model" / "config.yaml", lambda path: _model(path.parent))
    (folder / "weights").mkdir()
    config = yaml.safe_load((run / "model" / "config.yaml").read_text())
    config.pop("weights_sha256")
    (folder / "weights" / "config.yaml").write_text(_yaml(config))
    (folder / "weights" / "model.safetensors").write_bytes((run / "model" / "model.safetensors").read_bytes())
    yield of_bytes(folder / "weights" / "model.safetensors", lambda path: load(path.parent, "cpu"))
    (folder / "sampler.yaml").write_text(_yaml(dict(pipeline.sampler)))
    yield of_documents("sampler", folder / "sampler.yaml", partial(_sampler, pipeline))
    plan = pipeline.plan(2, steps=2)
    record = {**plan.record(), "model": str(run)}
    written, _ = write_samples(pipeline.modality, enumerate(plan.stream()), record, folder / "samples", ".png")
    write_record(pipeline.modality, written, record, folder / "samples")
    yield of_documents("record", folder / "samples" / "samples.json", lambda path: _record(path.parent, pipeline))
    settings = read_settings(run)
    yield of_documents("run", run / "config.yaml", lambda path: _run(path.parent, settings))
    checkpoint = folder / "step_00000001.ckpt"
    small = {"state_dict": {"w": torch.zeros(20)}, "optimizer_states": [], "global_step": 1}
    torch.save({**small, "pytorch-lightning_version": "2"}, checkpoint)
    yield of_bytes(checkpoint, lambda path: is_intact(path) and newest_checkpoint(path.parent))


def data(folder: Path) -> Iterator[Format]:
    """Captions, metadata, shards and their indices."""
    pictures = folder / "pictures"
    pictures.mkdir()
    for name in "ab":
        Image.new("RGB", (8, 8), "red").save(pictures / f"{name}.png")
    (pictures / "a.txt").write_text("a caption, é")
    lines = [{"file_name": "b.png", "text": "red", "tempo": 1.5}]
    (pictures / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    for name in ("a.txt", "metadata.jsonl"):
        yield of_bytes(pictures / name, lambda path: fields_of(find_entries(path.parent, (".png",), "image")))
    shards = write_shards(folder / "shards", 1, 3)
    yield of_bytes(shards / "000.tar", _shard)
    kept = write_shards(folder / "kept", 1, 3)
    cache = folder / "cache"
    _dataset(kept, cache)
    (index,) = (cache / "shards" / "indices").glob("*.json")
    yield of_documents("index", index, lambda path: _samples(_dataset(kept, cache)))


def tables(folder: Path) -> Iterator[Format]:
    """Parquet, Arrow, and what `datasets` saves."""
    rows = datasets.Dataset.from_dict(
        {
            "image": [{"bytes": picture(number), "path": None} for number in range(3)],
            "label": [0, 1, 0],
            "text": ["a", "b", None],
            "tempo": [1, 2, 3],
        },
        features=datasets.Features(
            image=datasets.Image(),
            label=datasets.ClassLabel(names=["even", "odd"]),
            text=datasets.Value("string"),
            tempo=datasets.Value("int32"),
        ),
    )
    datasets.disable_progress_bars()
    for place in ("parquet", "arrow"):
        (folder / place).mkdir()
    rows.to_parquet(folder / "parquet" / "rows.parquet")
    datasets.DatasetDict(train=rows).save_to_disk(folder / "saved")
    saved = folder / "saved" / "train"
    with pyarrow.ipc.new_file(str(folder / "arrow" / "rows.arrow"), rows.data.schema) as writer:
        writer.write_table(rows.data.table)
    for path in (folder / "parquet" / "rows.parquet", folder / "arrow" / "rows.arrow", *saved.glob("*.arrow")):
        yield of_bytes(path, lambda path: _table(path.parent))
    for name in ("state.json", "dataset_info.json"):
        yield of_documents(f"table_{name}", saved / name, lambda path: _table(path.parent))
    yield of_documents("dataset_dict", folder / "saved" / "dataset_dict.json", lambda path: _table(path.parent))


KINDS: tuple[Callable[[Path], Iterator[Format]], ...] = (images, sounds, shapes, documents, data, tables)


def _reader(modality: Modality[Any], **settings: Any) -> Callable[[Path], Any]:
    def read(path: Path) -> Any:
        modality.metadata(path)
        modality.to_data(modality.read(path))
        preparation = preparation_of(modality, settings)
        return preparation.sample(preparation.prepare(path), np.random.default_rng(0))

    return read


def _model(directory: Path) -> Any:
    EvaluatedModel(str(directory), torch.device("cpu"))
    return load(directory, "cpu").plan(1)


def _record(folder: Path, pipeline: Pipeline) -> Any:
    record = read_record(folder)
    assert record is not None
    for entry in record.files:
        record.modality.read(record.path(entry))
        metadata(record.plan, entry["index"])
    EvaluatedFiles(folder, None)
    return plan_from(pipeline, record.plan, lambda role, file: Path(file["file"]))


def _run(run: Path, settings: dict[str, Any]) -> Any:
    before = read_settings(run)
    in_force(decided(settings, before), settings, before)
    return check_same_run(run, settings)


def _sampler(pipeline: Pipeline, path: Path) -> Any:
    return pipeline.plan(1, sampler=str(path), steps=2, label="1").generate()


def _shard(path: Path) -> Any:
    cache = path.parent / "cache"
    return [_samples(_dataset(path, cache, label=label)) for label in ("cls", "json.parity")]


def _dataset(shards: Path, cache: Path, **settings: Any) -> ShardDataset:
    return ShardDataset(ImageModality(1), str(shards), size=8, cache=cache, **settings)


def _table(folder: Path) -> list[Any]:
    cache = folder.parent / "cache"
    dataset = TableDataset(ImageModality(1), folder, "image", size=8, max_unreadable=0, cache=cache)
    return _samples(dataset)


def _samples(dataset: Dataset) -> list[Any]:
    return [(dataset.data(i, np.random.default_rng(0)), dataset.facts(i)) for i in range(len(dataset))]


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False)
