"""Requests, their limits, jobs and history, without a page."""

import json
import shutil
import threading
from dataclasses import replace

import gradio as gr
import pytest
import yaml
from PIL import Image

from multidiff import bundled
from multidiff.codecs import base
from multidiff.errors import InputError
from multidiff.sampling.reproduce import reproduce_samples
from multidiff.sampling.sampler_config import load_sampler
from multidiff.studio.api import last
from multidiff.studio.artifacts import exported, gallery
from multidiff.studio.generate import Panel
from multidiff.studio.history import History
from multidiff.studio.jobs import Job, StoppedError
from multidiff.studio.limits import Limits
from multidiff.studio.line import Line, Waiting
from multidiff.studio.models import Models
from multidiff.studio.request import BATCH, Request
from multidiff.studio.settings import Settings

ASKED = Request(3, {"label": "4"}, "7", 2.5, "apg", "heun", 4, 11, 2)


def made(studio, request=ASKED):
    plan = studio.plan("digits", request)
    with studio.line.place("visitor") as place:
        return last(studio.generate(place, "digits", plan))


def test_a_request_survives_its_plan(studio):
    plan = studio.plan("digits", ASKED)
    assert Request.of(json.loads(plan.to_json())) == ASKED


def test_a_batch_is_as_large_as_samples_and_limits_allow(studio, monkeypatch):
    small = replace(studio, limits=Limits(batch=3))
    assert [each.plan("digits", Request(2)).batch_size for each in (studio, small)] == [BATCH, 3]
    monkeypatch.setattr(base, "LARGEST", 1)
    assert small.plan("digits", Request(2)).batch_size == 1


@pytest.mark.parametrize("fields", [{}, {"label": None}, {"label": ""}])
def test_a_request_without_a_condition_needs_no_guidance(studio, fields):
    assert studio.plan("digits", Request(1, fields, guidance=3.0, steps=2)).guidance.scale == 1


@pytest.mark.parametrize(
    ("wrong", "saying"),
    [
        ({"n": 9}, "samples from 1 to 8, got 9"),
        ({"n": 10**12}, "samples from 1 to 8"),
        ({"steps": 5001}, "steps from 1 to 5000, got 5001"),
        ({"batch_size": 0}, "batch size from 1 to 64, got 0"),
        ({"sampler": "/etc/passwd.yaml"}, "there is no '/etc/passwd.yaml'; there are: adaptive"),
        ({"rule": "../sampler/ddim"}, "there is no '../sampler/ddim'"),
        ({"fields": {"label": "x"}}, "it knows: 0, 1"),
        ({"fields": {"size": 9}}, "neither a field of this model nor a setting"),
    ],
)
def test_a_wrong_request_is_explained(studio, wrong, saying):
    with pytest.raises(InputError, match=saying):
        studio.plan("digits", Request(**wrong))


def test_a_sample_above_the_limit_of_size_is_refused(studio):
    with pytest.raises(InputError, match="a sample of 64 numbers is larger"):
        replace(studio, limits=Limits(size=63)).plan("digits", Request())


def test_a_limit_is_above_zero():
    with pytest.raises(InputError, match="limit of samples is a number above 0"):
        Limits(samples=0)


def test_a_result_is_a_folder_that_can_be_reproduced(studio, run_dir):
    result = made(studio)
    assert len(result.files) == 3
    assert reproduce_samples(result.folder, model=run_dir).equal
    assert not studio.line.stop()


def test_settings_come_back_from_a_file_and_from_the_history(studio):
    result = made(studio)
    for settings in (studio.settings_in(result.files[1]), studio.settings_of(studio.history[result.id])):
        assert settings == Settings("digits", ASKED)
        assert settings.is_complete


@pytest.mark.parametrize(
    ("changed", "saying"),
    [
        ({"grid": {"_target_": "multidiff.diffusion.grids.Uniform"}}, "grid._target_ of the sampler"),
        ({"name": "/etc/passwd.yaml"}, "the sampler /etc/passwd.yaml"),
        ({"speed": {"precision": "bfloat16"}}, "speed of the sampler"),
    ],
)
def test_settings_of_a_sampler_that_the_page_cannot_show_are_named(studio, changed, saying):
    record = dict(made(studio).record)
    settings = Settings.of({**record, "sampler": {**record["sampler"], **changed}}, studio.models, studio.history)
    assert saying in settings.lost
    assert saying in settings.remark


FAST = {**load_sampler("unipc_2"), "name": "fast", "steps": 3, "speed": {"reuse": 2}}
"""A sampler as `multidiff speedup` writes it."""


def with_files(studio, folder, **configs):
    """The same studio with sampler files."""
    for name, config in configs.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(config))
    run_dirs = list(studio.models.places.values())
    return replace(studio, models=Models.load(run_dirs, [folder / f"{name}.yaml" for name in configs]))


def test_a_sampler_file_is_offered_by_its_name_and_repeated_like_any_other(studio, tmp_path):
    fast = with_files(studio, tmp_path, other=FAST)
    result = made(fast, Request(1, {"label": "3"}, sampler="fast", steps=4))
    assert dict(result.record["sampler"]) == {**FAST, "steps": 4}
    assert str(tmp_path) not in json.dumps(dict(result.record))
    settings = fast.settings_of(result)
    assert (settings.request.sampler, settings.request.steps, settings.lost) == ("fast", 4, ())
    assert studio.settings_of(result).lost == ("the sampler fast",)
    with pytest.raises(InputError, match="there is no 'fast'; there are: adaptive"):
        studio.plan("digits", Request(sampler="fast"))
    with gr.Blocks():
        panel = Panel(fast, "digits")
    sampler = panel.controls.parts["sampler"]
    assert [name for name, _ in sampler.choices][:2] == [fast.models["digits"].sampler["name"], "fast"]
    assert panel.controls._chosen("fast") == (gr.update(info="Loaded from a sampler file."), 3)


def test_a_sampler_file_has_a_name_of_its_own(studio, tmp_path):
    with pytest.raises(InputError, match=r"b\.yaml: there is a sampler called fast already"):
        with_files(studio, tmp_path, a=FAST, b=FAST)
    with pytest.raises(InputError, match="there is a sampler called ddim already; change the name in the file"):
        with_files(studio, tmp_path, c={**FAST, "name": "ddim"})
    with pytest.raises(InputError, match="does not describe a sampler"):
        with_files(studio, tmp_path, d={"name": "fast"})


def test_other_settings_that_the_page_cannot_show_are_named(studio):
    record = dict(made(studio).record)
    record |= {
        "guidance": {**record["guidance"], "rule": {"_target_": "x"}, "field": "label"},
        "samples": [{"label": "1"}, {"label": "2"}],
        "seeds": {"kind": "varied", "seed": 1, "amount": 0.5},
        "edit": {"kind": "vary", "init": {"sha256": "0"}, "strength": 0.5},
        "lora": [{"name": "a"}],
        "sizes": {"height": 8, "depth": 4},
    }
    assert Settings.of(record, studio.models, studio.history).lost == (
        "the guidance rule",
        "guidance on label",
        "the fields of the other samples",
        "the size depth",
        "seeds of the kind varied",
        "what it was edited from",
        "LoRA",
    )


def test_a_negative_condition_without_a_control_is_named_and_left_out(studio):
    record = dict(made(studio).record)
    record["guidance"] = {**record["guidance"], "negative": {"caption": "7"}}
    settings = Settings.of(record, studio.models, studio.history)
    assert (settings.request.negative, settings.lost) == (None, ("the negative caption",))


def test_a_damaged_record_restores_nothing(studio):
    record = made(studio).record
    for part in ({"edit": {"init": 1}}, {"sampler": 1}, {"seeds": {"seed": 1}}, {"guidance": 1}):
        with pytest.raises(InputError):
            Settings.of({**record, **part}, studio.models, studio.history)


def test_a_foreign_file_or_one_of_another_model_restores_nothing(studio, tmp_path, run_dir):
    Image.new("L", (8, 8)).save(tmp_path / "foreign.png")
    with pytest.raises(InputError, match="holds no plan"):
        studio.settings_in(tmp_path / "foreign.png")
    with pytest.raises(InputError, match="a model that is not open here"):
        studio.models.of({"model_sha256": "0123"})
    with pytest.raises(InputError, match=r"not open here \(flowers, weights 0123\): start the studio with that model"):
        studio.models.of({"model_sha256": "0123", "model": "/runs/flowers"})


def test_progress_grows_to_the_end_and_shows_what_is_denoised(studio):
    job = Job(studio.plan("digits", Request(2, steps=40)), 60)
    reports = list(job.run())
    assert [report.done for report in reports] == sorted(report.done for report in reports)
    assert 0 <= reports[0].done <= reports[-1].done <= 1
    assert isinstance(reports[0].picture, Image.Image)
    assert len(job.artifacts) == 2


def test_a_stopped_job_ends_and_frees_its_place(studio):
    plan = studio.plan("digits", Request(8, {"label": "1"}, steps=5000))
    with studio.line.place("visitor") as place:
        events = studio.generate(place, "digits", plan)
        next(events)
        assert studio.line.stop("visitor")
        with pytest.raises(StoppedError, match="stopped"):
            list(events)
    assert not studio.line.stop("visitor")
    assert studio.history.search() == []


def test_requests_wait_in_the_order_of_their_arrival_and_know_their_place():
    line = Line(2)
    with line.place("a") as first, line.place("b") as second, line.place("c") as third:
        assert list(first.turn()) == []
        waiting = third.turn()
        assert next(waiting) == Waiting(2)
        assert next(second.turn()) == Waiting(1)
        with pytest.raises(InputError, match="2 requests wait already"), line.place("d"):
            pass
        assert line.stop("b")
        assert next(waiting) == Waiting(1)
        with pytest.raises(StoppedError, match="stopped"):
            list(second.turn())
        assert not line.stop("b")
    assert not line.stop()


def test_a_request_that_is_stopped_just_before_its_job_begins_makes_nothing(studio):
    plan = studio.plan("digits", Request(1, steps=5000))
    with studio.line.place("visitor") as place:
        assert list(place.turn()) == []
        studio.line.stop("visitor")
        with pytest.raises(StoppedError):
            list(studio.generate(place, "digits", plan))


def test_a_job_ends_when_its_time_is_up_or_nobody_waits(studio):
    plan = studio.plan("digits", Request(8, steps=5000))
    with pytest.raises(StoppedError, match=r"longer than this studio allows, 0\.01 s"):
        list(Job(plan, 0.01).run())
    before = threading.active_count()
    events = Job(plan, 60).run()
    next(events)
    events.close()
    assert threading.active_count() == before


def test_the_history_is_searched_by_words(studio):
    three = made(studio, Request(1, {"label": "3"}, steps=2, seed=517))
    made(studio, Request(1, {"label": "4"}, steps=2, seed=618))
    assert [result.id for result in studio.history.search("digits SEED 517")] == [three.id]
    assert len(studio.history.search("digits")) == 2
    assert studio.history.search("100%") == []
    studio.history.remove(three.id)
    assert not three.folder.exists()
    with pytest.raises(InputError, match="no longer in the history"):
        studio.history[three.id]


def test_a_result_that_a_killed_server_left_out_of_the_index_is_found(studio):
    result = made(studio)
    (studio.history.folder / "history.sqlite").unlink()
    shutil.copytree(result.folder, studio.history.results / ".unfinished")
    again = History(studio.history.folder)
    assert [found.id for found in again.search()] == [result.id]
    assert again[result.id].words == result.words


def test_a_folder_that_is_no_history_is_refused(tmp_path):
    (tmp_path / "history.sqlite").write_text("not a database" * 100)
    with pytest.raises(InputError, match="choose another by --history"):
        History(tmp_path)


def test_files_are_shown_and_converted(studio):
    result, modality = made(studio), studio.models["digits"].modality
    assert [Image.open(path).size for path, _ in gallery(modality, result)] == [(8, 8)] * 3
    assert exported(modality, result, 1, ".png", {}) == result.files[1]
    converted = exported(modality, result, 1, ".webp", {})
    assert modality.metadata(converted)["index"] == 1


def test_models_have_the_names_of_their_directories(run_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(bundled, "FOLDER", tmp_path)
    assert list(Models.load([run_dir, run_dir / "model"]).pipelines) == ["digits", "digits'"]
    with pytest.raises(InputError, match="give at least one model"):
        Models.load([])
    with pytest.raises(InputError, match="no model is called 'x' here; there are: digits"):
        Models.load([run_dir])["x"]


def test_models_of_the_lowest_loss_have_the_names_of_their_runs(run_dir, tmp_path):
    kept = [shutil.copytree(run_dir / "model", tmp_path / run / "lowest_loss") for run in ("a", "b")]
    assert list(Models.load(kept).pipelines) == ["a, lowest loss", "b, lowest loss"]
