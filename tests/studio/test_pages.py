"""Pages that follow a run and show a report; what notebooks show."""

import io

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from modalities.shape.cloud import PointCloud
from modalities.shape.modality import ShapeModality
from multidiff.errors import InputError
from multidiff.studio.report import Reports
from multidiff.studio.runs import Run
from multidiff.studio.samples import SampleView
from multidiff.studio.training import Training, frame, scored, status

METRICS = """epoch,step,train/loss,train/samples_per_second,val/log_snr_-2_to_0,val/loss
0,49,0.5,400,,
0,99,0.25,200,,
0,99,,,0.75,0.5
0,149,nan,
"""


@pytest.fixture
def run(tmp_path):
    (tmp_path / "config.yaml").write_text("trainer: {max_steps: 300}\nloader: {batch_size: 4}\n")
    (tmp_path / "logs" / "csv").mkdir(parents=True)
    (tmp_path / "logs" / "csv" / "metrics.csv").write_text(METRICS)
    (tmp_path / "previews").mkdir()
    for step in (50, 100):
        Image.new("L", (8, 8)).save(tmp_path / "previews" / f"step_{step:08d}.png")
    return Run.read(tmp_path)


def test_a_run_is_read_while_it_is_written(run):
    assert (run.step, run.steps, run.left) == (150, 300, 150 * 4 / 200)
    assert run.curve(by_noise=False) == [(49, "training", 0.5), (99, "training", 0.25), (99, "held out", 0.5)]
    assert run.curve(by_noise=True) == [(99, "-2 to 0", 0.75)]
    assert "step 150 of 300 · 200 samples a second · about 0 min 3 s left" in status(run, "training")


def test_a_single_value_is_drawn_as_a_dash(run):
    levels, losses = (frame(run, run.curve(by_noise=by_noise), "loss") for by_noise in (True, False))
    assert levels.values.tolist() == [[99, "-2 to 0", 0.75], [102, "-2 to 0", 0.75]]
    assert [step for step, of, _ in losses.values if of == "training"] == [49, 99]


def test_a_resumed_run_has_all_its_steps_once(run):
    """It was killed after the checkpoints of steps 100 and 200, and once before it had logged anything."""
    folder, title = run.folder / "logs" / "csv", "epoch,step,train/loss"
    (folder / "metrics.csv").rename(folder / "metrics_before_step_00000100.csv")
    (folder / "metrics_before_step_00000200.csv").write_text(f"{title}\n0,149,3\n0,199,4\n0,249,5\n")
    (folder / "metrics_before_step_00000200_1.csv").write_text(f"{title}\n")
    assert [step for step, *_ in Run.read(run.folder).curve(by_noise=False)] == [49, 99, 99, 149, 199]
    (folder / "metrics.csv").write_text(f"{title}\n0,249,6\n")
    joined = Run.read(run.folder)
    assert joined.curve(by_noise=False)[-3:] == [(149, "training", 3), (199, "training", 4), (249, "training", 6)]
    assert (joined.step, joined.newest["val/loss"]) == (250, 0.5)


def test_a_run_with_a_budget_is_as_long_as_it_expects(run):
    (run.folder / "config.yaml").write_text("budget: 10s\ntrainer: {max_steps: null}\nloader: {batch_size: 4}\n")
    metrics = run.folder / "logs" / "csv" / "metrics.csv"
    metrics.write_text("step,train/steps,train/seconds_left\n149,500,7\n")
    limited = Run.read(run.folder)
    assert (limited.steps, limited.left, limited.is_done) == (500, 7, False)
    metrics.unlink()
    begun = Run.read(run.folder)
    assert (begun.steps, begun.left) == (None, None)
    assert "step 0<" in status(begun, "training")


def test_a_run_that_has_logged_nothing_is_at_its_start(run):
    (run.folder / "logs" / "csv" / "metrics.csv").unlink()
    begun = Run.read(run.folder)
    assert (begun.step, begun.left, begun.curve(by_noise=True)) == (0, None, [])


def test_the_page_shows_the_newest_preview_and_any_other(run):
    with gr.Blocks():
        page = Training([run.folder], control=True)
    name = run.folder.name
    shown = page.look(name)
    assert len(shown) == len(page.outputs)
    assert shown[4].endswith("step_00000100.png")
    assert page.frame(name, 1).endswith("step_00000050.png")
    for wrong in ((name, 0), (name, 3), ("..", 1)):
        with pytest.raises(InputError):
            page.frame(*wrong)


def test_the_score_that_chooses_the_best_model_is_plotted_once_there_is_one(run):
    assert scored(run)["visible"] is False
    with (run.folder / "config.yaml").open("a") as config:
        config.write("callbacks: {evaluation: {score: recall}}\n")
    assert scored(Run.read(run.folder))["visible"] is False
    title = "step,evaluation/frechet_distance,evaluation/recall"
    metrics = run.folder / "logs" / "csv" / "metrics.csv"
    metrics.write_text(f"{title}\n100,9,0.25\n200,8,nan\n300,7,0.5\n")
    evaluated = Run.read(run.folder)
    assert evaluated.step == 300
    with gr.Blocks():
        page = Training([run.folder], control=False)
    plot = page.look(run.folder.name)[page.outputs.index(page.scores)]
    assert (plot["visible"], plot["title"]) == (True, "recall ↑")
    assert plot["value"][["step", "score"]].values.tolist() == [[99, 0.25], [299, 0.5]]


def test_a_score_at_the_step_of_a_resume_stays(run):
    folder = run.folder / "logs" / "csv"
    (folder / "metrics_before_step_00000100.csv").write_text("step,evaluation/recall\n50,0.1\n100,0.2\n150,0.3\n")
    (folder / "metrics.csv").write_text("step,evaluation/recall\n150,0.4\n")
    assert [values["evaluation/recall"] for _, values in Run.read(run.folder).rows] == [0.1, 0.2, 0.4]


def test_a_report_is_shown_without_its_scripts(tmp_path):
    file = tmp_path / "report.html"
    file.write_text('<p title="a">x</p><script>alert(1)</script>')
    with gr.Blocks():
        page = Reports([file])
    shown = page.show(f"{tmp_path.name}/report.html")
    assert 'sandbox=""' in shown
    assert "<script>" not in shown
    with pytest.raises(InputError, match="no report is called"):
        page.show("/etc/passwd")


def test_notebooks_show_pipelines_and_point_clouds(models):
    table = models["digits"]._repr_html_()
    assert "<th>conditions</th><td>label: 0, 1, 2" in table
    picture = PointCloud(np.random.default_rng(0).normal(size=(50, 3)))._repr_png_()
    assert Image.open(io.BytesIO(picture)).size == (320, 320)


def test_a_shape_without_a_surface_is_a_warning_in_an_empty_viewer(studio, tmp_path, monkeypatch):
    """Its points can still be downloaded."""
    warnings = []
    monkeypatch.setattr(gr, "Warning", lambda text, title: warnings.append((title, text)))
    shapes = ShapeModality(6)
    shapes.write(PointCloud(np.zeros((16, 3), np.float32), np.ones((16, 3), np.float32)), tmp_path / "0.ply", {})
    with gr.Blocks():
        view = SampleView(studio, shapes)
    assert view.viewed(tmp_path / "0.ply") is None
    assert warnings == [("No view of this sample", "no surface is found: all points coincide")]
