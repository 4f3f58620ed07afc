"""The page of the history, without a browser."""

from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest

from modalities.shape.cloud import PointCloud
from modalities.shape.modality import ShapeModality
from multidiff.sampling.samples import finish, write_samples
from multidiff.studio.api import last
from multidiff.studio.engine import Studio
from multidiff.studio.generate import Panel
from multidiff.studio.history import History
from multidiff.studio.past import Past
from multidiff.studio.request import Request

SHAPES = {"_target_": "modalities.shape.modality.ShapeModality", "channels": 6}


def generate(studio, seed):
    with studio.line.place("visitor") as place:
        plan = studio.plan("digits", Request(2, {"label": "3"}, steps=1, seed=seed))
        return last(studio.generate(place, "digits", plan))


def page_of(studio):
    with gr.Blocks():
        panels = {"digits": Panel(studio, "digits")}
        return Past(studio, panels, gr.Tabs(), gr.Tabs())


def chosen(past, result):
    """The title and, by the name of their modality, what the views show of a result that is clicked."""
    _, title, *updates = past._select([result.id], SimpleNamespace(index=0))
    views = {}
    for name, (_, view) in past.views.items():
        column, *values = updates[: 1 + len(view.outputs)]
        views[name] = values if column["visible"] else None
        updates = updates[1 + len(view.outputs) :]
    assert not updates
    return title, views


def test_a_result_is_shown_with_its_files_and_plan_and_is_converted_and_reproduced(studio):
    result = generate(studio, 1)
    past = page_of(studio)
    _, views = chosen(past, result)
    shown, index, pictures, plan, files, *_ = views["image"]
    assert (shown, index, len(pictures), len(files)) == (result.id, 0, 2, 2)
    assert '"seed": 1' in plan
    view = past.views["image"][1]
    assert view._convert(shown, 1, "webp").endswith("00001.webp")
    verdicts = list(view._reproduced(SimpleNamespace(session_hash="visitor"), shown))
    assert "equal, byte for byte" in verdicts[-1]


@pytest.mark.slow
def test_a_shape_of_a_model_that_is_not_open_is_viewed_and_exported_for_printing(studio):
    cloud = np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32)
    cloud /= np.linalg.norm(cloud, axis=1, keepdims=True)
    folder, modality = studio.history.results / "shape", ShapeModality(6)
    record = {**generate(studio, 1).record, "modality": SHAPES, "model": "chairs", "model_sha256": "another"}
    written, _ = write_samples(modality, enumerate([PointCloud(cloud, cloud)]), record, folder, ".ply")
    finish(modality, written, {}, record, folder, ".ply")
    again = Studio(studio.models, History(studio.history.folder), studio.limits)
    past = page_of(again)
    _, views = chosen(past, again.history["shape"])
    assert views["image"] is None
    assert views["shape"][0] == "shape"
    view = past.views["shape"][1]
    assert view.samples.first("shape").endswith("00000.glb")
    assert view._convert("shape", 0, "stl", "mm", "z", 0.1).endswith("00000.stl")


def test_a_result_of_a_modality_that_is_not_installed_says_so(studio):
    result = generate(studio, 1)
    past = page_of(studio)
    record = {**result.record, "model_sha256": "another", "modality": {"_target_": "absent.Modality"}}
    other = studio.history._index("other", 2.0, record)
    assert list(page_of(studio).views) == ["image"]
    title, views = chosen(past, other)
    assert "No view: " in title
    assert views == {"image": None}


def test_more_results_are_shown_on_request(studio):
    results = [generate(studio, seed) for seed in range(3)]
    past = page_of(studio)
    ids, pictures, more = past.search("", 2)
    assert ids == [results[2].id, results[1].id]
    assert len(pictures) == 2
    assert more["visible"]
    ids, _, more = past.search("", 4)
    assert ids[-1] == results[0].id
    assert not more["visible"]


def test_a_deleted_result_leaves_the_page(studio):
    result, kept = generate(studio, 1), generate(studio, 2)
    past = page_of(studio)
    ids, _, _, none, title, *updates = past._remove(result.id, "", 60)
    assert (ids, none) == ([kept.id], "")
    assert "Deleted" in title
    assert not updates[0]["visible"]
