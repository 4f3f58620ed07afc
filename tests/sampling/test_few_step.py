"""Models that were trained for few steps say so, and requests that they cannot meet are refused."""

import logging
from types import SimpleNamespace

import pytest
import torch

import multidiff
from multidiff.configuration import read_yaml
from multidiff.diffusion.objectives import Trained
from multidiff.errors import InputError
from multidiff.evaluation.evaluated import EvaluatedModel
from multidiff.sampling.few_step import record, trained_from
from tests.tiny import tiny_train

OBJECTIVES = {
    "consistency": ["objective=consistency", "init={teacher}"],
    "mean_flow": ["objective=mean_flow", "init={teacher}", "objective.guidance=2.0", "prediction=velocity"],
    "guided": ["objective=guided_distillation", "teacher={teacher}", "init={teacher}"],
    "matched": ["objective=distribution_matching", "teacher={teacher}", "init={teacher}"],
    "two_steps": ["objective=progressive_distillation", "teacher={teacher}", "objective.times.steps=2"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of each objective, and their teacher, trained for one step."""
    folder = tmp_path_factory.mktemp("few_step")
    tiny_train(folder / "teacher", "trainer.max_steps=1")
    for name, settings in OBJECTIVES.items():
        own = [setting.format(teacher=folder / "teacher") for setting in settings]
        validated = ("trainer.val_check_interval=1", "loader.validated=8")
        tiny_train(folder / name, *own, *validated, "guidance=1.0", "trainer.max_steps=1")
    return folder


@pytest.mark.parametrize(("objective", "kept"), [("consistency", False), ("matched", False), ("guided", True)])
def test_the_model_of_the_lowest_loss_is_kept_where_losses_are_comparable(folder, objective, kept):
    """The target of a consistency model moves with it, so that a later loss may be higher in a better model."""
    assert (folder / objective / "lowest_loss").exists() == kept


def test_a_student_starts_from_the_weights_of_its_teacher(folder):
    """Further inputs are without effect at first: the students' outputs differ by the rounding of one training step."""
    teacher, student = (multidiff.load(folder / name).model.denoiser for name in ("teacher", "mean_flow"))
    assert (teacher.inputs, student.inputs) == ((), ("second_time",))
    x, t = torch.randn(4, 1, 8, 8), torch.full((4,), 0.5)
    with torch.no_grad():
        torch.testing.assert_close(teacher(x, t), student(x, t, s=t / 2), rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    ("name", "sampler", "steps", "trained"),
    [
        ("teacher", "dpmpp_2m", 20, Trained()),
        ("consistency", "consistency", 4, Trained(("consistency",), 4, (1.0, 1.0))),
        ("mean_flow", "mean_flow", 1, Trained(("mean_flow",), None, (2.0, 2.0))),
        ("guided", "dpmpp_2m", 20, Trained((), None, (1.0, 4.0))),
        ("matched", "consistency", 1, Trained(("consistency",), 1, (1.0, 1.0))),
        ("two_steps", "ddim", 2, Trained(("ddim",), 2, (1.0, 1.0))),
    ],
)
def test_a_model_knows_its_sampler(folder, name, sampler, steps, trained):
    pipeline = multidiff.load(folder / name)
    assert (pipeline.sampler["name"], pipeline.trained) == (sampler, trained)
    assert pipeline.sampler["steps"] == steps
    for count in (1, 2, 4):
        plan = pipeline.plan(2, label="1", steps=count)
        assert plan.sampler["name"] == sampler
        assert plan.x0(range(2)).isfinite().all()


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("consistency", {"guidance": 2.0}, "this model was trained for guidance 1, but guidance 2.0 was requested"),
        (
            "guided",
            {"guidance": 5.0},
            "this model was trained for guidance from 1 to 4, but guidance 5.0 was requested",
        ),
        ("guided", {"guidance": 2.0, "negative": "2"}, "leave out guidance rule, field and negative condition"),
        ("guided", {"guidance": 2.0, "guidance_rule": "apg"}, "leave out guidance rule, field and negative condition"),
        ("mean_flow", {"guidance": 1.0}, "this model was trained for guidance 2, but guidance 1.0 was requested"),
        ("teacher", {"sampler": "mean_flow"}, "sampler mean_flow needs a network with a second time"),
    ],
)
def test_what_a_model_has_not_learned_is_refused(folder, name, settings, message):
    with pytest.raises(InputError, match=message):
        multidiff.load(folder / name).plan(1, label="1", **settings)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("two_steps", {"steps": 3}, "was trained for at most 2 steps; 3 do not improve its samples"),
        ("consistency", {"steps": 20}, "was trained for at most 4 steps"),
        ("consistency", {"sampler": "heun"}, "was trained for the sampler consistency; heun needs"),
        ("mean_flow", {"steps": 8}, None),
        ("teacher", {"steps": 100}, None),
    ],
)
def test_more_steps_than_a_model_means_are_remarked(folder, name, settings, message, caplog):
    with caplog.at_level(logging.WARNING):
        multidiff.load(folder / name).plan(1, label="1", **settings)
    assert (message in caplog.text) if message else not caplog.text


def test_an_evaluation_remarks_them_too(folder, caplog):
    evaluated = EvaluatedModel(str(folder / "matched"), torch.device("cpu"))
    data = SimpleNamespace(conditions=lambda n, _: [{"label": "1"}] * n, shape=(1, 8, 8))
    with caplog.at_level(logging.WARNING):
        evaluated.source(data, 2, 0, {"steps": 1})
        assert not caplog.text
        evaluated.source(data, 2, 0, {"steps": 8})
    assert "trained for at most 1 steps; 8 do not improve its samples" in caplog.text


def test_the_scale_changes_the_samples_in_one_evaluation(folder):
    pipeline = multidiff.load(folder / "guided")
    torch.nn.init.normal_(pipeline.model.denoiser.network.embedding.further["guidance"].out.weight)
    calls = []
    pipeline.model.denoiser.network.register_forward_hook(lambda module, inputs, output: calls.append(len(inputs[0])))
    weak, strong = (pipeline.plan(2, label="1", steps=1, guidance=scale).x0(range(2)) for scale in (1.0, 3.0))
    assert not torch.equal(weak, strong)
    assert set(calls) == {2}


def test_records_are_read_back_and_damaged_ones_refused(folder):
    for name in ("teacher", *OBJECTIVES):
        entry = read_yaml(folder / name / "model" / "config.yaml").get("trained")
        assert record(trained_from(entry)).get("trained") == entry
    good = record(Trained(("ddim",), 2, (1.0, 4.0)))["trained"]
    assert trained_from(good) == Trained(("ddim",), 2, (1.0, 4.0))
    changes = [{"steps": 0}, {"steps": "2"}, {"samplers": "ddim"}, {"guidance": [1]}, {"guidance": [1, "x"]}, {"x": 1}]
    for change in changes:
        with pytest.raises(InputError, match="trained"):
            trained_from({**good, **change})
    with pytest.raises(InputError, match="trained"):
        trained_from([])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("backbone.widths=[16,16]", r"init: .*teacher has .* of shape .* and the model to train"),
        ("prediction=flow", "has prediction._target_=.*Velocity and the student .*Flow: set the student's prediction"),
        ("prediction=sample objective=consistency init=null", "Sample is not the identity at t = 0"),
        (
            "objective.guidance=2.0",
            "objective.guidance=2.0 needs a teacher: give teacher=MODEL_DIR, or objective.guidance=1",
        ),
        ("objective=progressive_distillation teacher={teacher} schedule=flow", "schedule._target_=.*Cosine"),
        ("codec=scaling", "has codec._target_=.*Identity and the student .*Scaling"),
    ],
)
def test_students_that_differ_are_refused_before_training(folder, tmp_path, overrides, message):
    settings = ["objective=consistency", f"init={folder / 'teacher'}"]
    given = overrides.format(teacher=folder / "teacher").split()
    kept = [setting for setting in settings if not any(each.startswith(setting.split("=")[0] + "=") for each in given)]
    with pytest.raises(InputError, match=message):
        tiny_train(tmp_path / "run", *kept, *given)
