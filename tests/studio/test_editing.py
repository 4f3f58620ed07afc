"""Edits, interpolation and comparison from the page, without a browser."""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from multidiff.errors import InputError
from multidiff.sampling.reproduce import reproduce_samples
from multidiff.studio.comparing import SideBySide, with_change
from multidiff.studio.engine import Studio
from multidiff.studio.generate import Panel
from multidiff.studio.history import History
from multidiff.studio.limits import Limits
from multidiff.studio.request import BATCH, Request
from multidiff.studio.sources import SOURCES

VISITOR = SimpleNamespace(session_hash="visitor")
WHITE = Image.new("RGB", (40, 40), "white")


def painted(width):
    layer = np.zeros((40, 40, 4), np.uint8)
    layer[:, :width] = 255
    return {"background": WHITE, "layers": [Image.fromarray(layer)], "composite": WHITE}


@pytest.fixture(scope="module")
def page(models, tmp_path_factory):
    """A page that all tests use, since it takes long to build."""
    studio = Studio(models, History(tmp_path_factory.mktemp("page") / "history"), Limits(samples=8, steps=5000))
    with gr.Blocks():
        return Panel(studio, "digits")


@pytest.fixture
def studio(page):
    """The studio of the page, with an empty history."""
    for result in page.studio.history.search():
        page.studio.history.remove(result.id)
    return page.studio


@pytest.fixture
def panel(page, studio):
    return page


@pytest.fixture
def values(panel):
    """The values of the controls as the page opens, with 2 steps and the seed kept."""
    given = {name: part.value for name, part in panel.controls.parts.items()} | {"lock": True, "steps": 2, "n": 2}
    return [given[name] for name in panel.controls.parts]


@pytest.fixture(scope="module")
def both(page):
    with gr.Blocks():
        return SideBySide(page)


@pytest.fixture
def compared(both, studio):
    return both


def last_result(studio):
    return studio.history.search()[0]


def test_generate_gives_progress_then_a_result_with_all_outputs(panel, values, studio):
    updates = list(panel.run(VISITOR, *values))
    assert all(len(update) == len(panel.outputs) for update in updates)
    assert "kept in the history" in updates[-1][0]
    assert Request.of(last_result(studio).record) == replace(panel.controls.request(values), batch_size=BATCH)


def test_a_visitor_who_waits_sees_the_place_in_the_line_and_that_it_was_stopped(panel, values, studio):
    with studio.line.place("another"):
        updates = panel.run(VISITOR, *values)
        assert "Waiting: 1 request is before this one" in next(updates)[0]
        panel._stop(VISITOR)
        assert "No result: stopped" in next(updates)[0]
        with pytest.raises(gr.Error, match="stopped"):
            next(updates)
    assert studio.history.search() == []


def test_a_request_that_cannot_be_done_ends_in_the_status_line(panel, values):
    values[list(panel.controls.parts).index("n")] = 99
    assert "No result: this studio takes samples from 1 to 8" in next(panel.run(VISITOR, *values))[0]


def test_settings_go_back_into_the_controls(panel, values):
    request = replace(panel.controls.request(values), seed=77, fields={"label": "5"}, guidance=3.0)
    filled = panel.controls.filled(request)
    shown = [update["value"] for update in filled]
    assert panel.controls.request(shown) == request


def test_a_size_goes_back_into_its_controls_and_is_made_again(panel, values, studio):
    size = {"size height": 16, "size width": 12}
    values = [size.get(name, value) for name, value in zip(panel.controls.parts, values, strict=True)]
    list(panel.run(VISITOR, *values))
    first = last_result(studio)
    assert [Image.open(path).size for path in first.files] == [(12, 16)] * 2
    settings = studio.settings_in(first.files[0])
    assert settings.is_complete
    list(panel.run(VISITOR, *(update["value"] for update in panel.controls.filled(settings.request))))
    assert last_result(studio).id != first.id
    assert last_result(studio).record == first.record


def test_a_size_above_the_limit_ends_in_the_status_line(panel, values):
    values[list(panel.controls.parts).index("size width")] = 10**6
    updates = panel.run(VISITOR, *values)
    assert "No result: a sample of 8000000 numbers is larger" in next(updates)[0]


@pytest.mark.parametrize("way", ["Vary it", "Regenerate a part of it", "Continue it"])
def test_an_edit_has_the_size_of_the_request(panel, values, studio, way):
    values[list(panel.controls.parts).index("size height")] = 16
    amount = 4 if way == "Continue it" else None
    list(panel.editing.run(VISITOR, painted(20), way, 0.5, "", amount, *values))
    assert {Image.open(path).size for path in last_result(studio).files} == {(8 + (amount or 0), 16)}


def test_a_file_is_not_enlarged_above_the_limit(panel, values):
    values[list(panel.controls.parts).index("size height")] = 10**9
    with pytest.raises(gr.Error, match="larger than this studio allows"):
        next(panel.editing.run(VISITOR, painted(20), "Vary it", 0.5, "", None, *values))


def test_an_unlocked_seed_changes(panel, values):
    place = list(panel.controls.parts).index("lock")
    values[place] = False
    assert panel.asked(values).seed != panel.asked(values).seed


@pytest.mark.parametrize("way", ["Vary it", "Regenerate a part of it"])
def test_an_edit_is_kept_with_its_files_and_can_be_reproduced(panel, values, studio, run_dir, way):
    list(panel.editing.run(VISITOR, painted(20), way, 0.5, "", None, *values))
    result = last_result(studio)
    assert result.record["edit"]["init"]["file"] == "init.png"
    assert str(tempfile.gettempdir()) not in str(result.record)
    assert reproduce_samples(result.folder, model=run_dir).equal


def test_what_was_not_painted_is_kept(panel, values, studio):
    list(panel.editing.run(VISITOR, painted(20), "Regenerate a part of it", 0.5, "", None, *values))
    for path in last_result(studio).files:
        pixels = np.asarray(Image.open(path))
        assert (pixels[:, 4:] == 255).all()


def test_a_small_image_is_enlarged_for_the_brush_and_comes_back_exactly(tmp_path):
    picture, noise = SOURCES["picture"], Image.effect_noise((16, 12), 60).convert("RGB")
    enlarged = picture.enlarged({"background": noise, "layers": [], "composite": noise})
    assert enlarged["background"].size == (512, 384)
    assert Image.open(picture.init(enlarged, (3, 12, 16), tmp_path)).tobytes() == noise.tobytes()


@pytest.mark.parametrize(
    ("given", "way", "amount", "saying"),
    [
        (None, "Vary it", None, "give an image to start from"),
        (painted(0), "Regenerate a part of it", None, "paint the part"),
        (painted(1), "Continue it", None, "give the length to add"),
        (painted(1), "Continue it", 10**9, "larger than this studio allows"),
    ],
)
def test_a_wrong_edit_is_explained(panel, tmp_path, given, way, amount, saying):
    with pytest.raises(InputError, match=saying):
        panel.editing.edit(Path(tmp_path), panel.pipeline.data_shape, given, way, 0.5, "", amount)


def test_a_change_is_of_the_kind_of_its_setting():
    request = Request(fields={"label": "3"}, negative="5")
    assert with_change(request, "guidance", " 2.5 ").guidance == 2.5
    assert with_change(request, "field label", "4").fields == {"label": "4"}
    assert with_change(request, "field label", "any").fields == {}
    assert with_change(request, "negative", "any").negative is None
    with pytest.raises(InputError, match="steps is a number, not 'x'"):
        with_change(request, "steps", "x")


def test_a_comparison_names_the_controls_and_offers_their_choices(compared):
    assert [label for label, _ in compared.changed.choices] == [
        "Label",
        "Sampler",
        "Steps",
        "Guidance",
        "Guidance rule",
        "Negative",
    ]
    choice, text = compared._chosen("sampler")
    assert "heun" in choice["choices"]
    assert (choice["visible"], text["visible"]) == (True, False)
    choice, text = compared._chosen("steps")
    assert (choice["visible"], text["visible"]) == (False, True)


def test_a_comparison_shows_both_sides_and_how_long_it_took(compared, values, studio):
    updates = list(compared.run(VISITOR, "field label", "7", "", *values))
    assert all(len(update) == len(compared.outputs) for update in updates)
    assert "4 samples in" in updates[-1][0]
    changed, as_set = studio.history.search()
    assert (as_set.record["samples"], changed.record["samples"]) == ([{"label": "0"}], [{"label": "7"}])
    ids = [[update[place] for update in updates if isinstance(update[place], str)] for place in (1, 4)]
    assert ids == [[as_set.id], [changed.id]]


def test_a_comparison_that_ends_early_says_so(compared, values, studio):
    updates = compared.run(VISITOR, "steps", None, "4000", *values)
    next(updates)
    assert studio.line.stop("visitor")
    lines = []
    with pytest.raises(gr.Error, match="stopped"):
        lines.extend(update[0] for update in updates)
    assert "No result: stopped" in lines[-1]
    assert "No result: steps is a number" in next(compared.run(VISITOR, "steps", None, "x", *values))[0]


@pytest.mark.parametrize("way", ["Vary it", "Regenerate a part of it", "Continue it"])
def test_an_edit_goes_back_into_the_controls_and_is_made_again(panel, values, studio, way):
    amount = 3 if way == "Continue it" else None
    list(panel.editing.run(VISITOR, painted(20), way, 0.3, "", amount, *values))
    first = last_result(studio)
    given, own = restored(panel, studio.settings_of(first))
    assert "press Generate from the file" in given["status"]
    assert given["open"]
    list(panel.editing.run(VISITOR, *own, *given["controls"]))
    second = last_result(studio)
    assert second.id != first.id
    assert second.record == first.record


def test_a_file_whose_source_is_gone_says_what_it_needs(panel, values, studio, tmp_path, monkeypatch):
    warnings = []
    monkeypatch.setattr(gr, "Warning", lambda text, title: warnings.append(text))
    list(panel.editing.run(VISITOR, painted(20), "Vary it", 0.3, "", None, *values))
    result = last_result(studio)
    lone = Path(shutil.copy(result.files[0], tmp_path / "lone.png"))
    assert studio.settings_in(lone).files["init"].name == "init.png"  # in the history
    studio.history.remove(result.id)
    given, own = restored(panel, studio.settings_in(lone))
    assert "Made from the file init.png: give this file under Start from a file" in given["status"]
    assert warnings == [studio.settings_in(lone).remark]
    assert own == [None, "Vary it", 0.3, "", None]


def test_a_strip_goes_back_into_the_controls_and_is_made_again(panel, values, studio):
    list(panel.strip.run(VISITOR, 5, 3, *values))
    first = last_result(studio)
    settings = studio.settings_of(first)
    assert "Made by interpolation to the seed 5: press Interpolate" in settings.remark
    _, second, count = panel.strip.filled(settings)
    controls = [update["value"] for update in panel.controls.filled(settings.request)]
    list(panel.strip.run(VISITOR, second["value"], count["value"], *controls))
    assert last_result(studio).id != first.id
    assert last_result(studio).record == first.record


def restored(panel, settings):
    """What is shown of ``settings``, and the values of the controls of the edit, which are new."""
    filled, count = panel.filled(settings), len(panel.controls.inputs)
    assert len(filled) == len(panel.restored)
    status, controls, (accordion, *own) = filled[0], filled[1 : 1 + count], filled[1 + count : 7 + count]
    shown = {"status": status, "open": accordion["open"], "controls": [update["value"] for update in controls]}
    new = [None, "Vary it", 0.5, "", None]
    return shown, [update.get("value", before) for update, before in zip(own, new, strict=True)]
