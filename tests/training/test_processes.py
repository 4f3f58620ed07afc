"""Two processes train as one does: disjoint data, other noise, one gradient, the same weights, one checkpoint."""

import json
import sys
import time

import pytest
import torch

from multidiff.cli.main import main
from multidiff.diffusion.objectives import Objective
from multidiff.training.checkpoints import newest_checkpoint
from multidiff.training.module import DiffusionModule
from multidiff.training.stability import Stability
from tests.tiny import TINY, tiny_train, weights
from tests.training.processes import together

STEPS = 4
SETTINGS = (f"trainer.max_steps={STEPS}", "trainer.val_check_interval=2", "loader.batch_size=4", "+optimizer.eps=1e-4")
TWO = ("trainer=cpu_ddp",)
"""Eight samples a step are two processes' four, or one's twice four."""


def recorded(run_dir, *overrides):
    """Train; samples, times' generators, gradients and logged losses as they were."""
    seen, noise, gradients, logged = [], [], [], {}
    loss, clip, log = Objective.__call__, Stability.clip, DiffusionModule.log

    def see(self, context):
        seen.append(context.x0.clone())
        noise.append(context.generator.initial_seed())
        return loss(self, context)

    def note(self, parameters, limit):
        parameters = list(parameters)
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in parameters]))
        return clip(self, parameters, limit)

    def listen(self, name, value, **settings):
        logged[name] = value.item() if isinstance(value, torch.Tensor) else value
        log(self, name, value, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Objective, "__call__", see)
        patch.setattr(Stability, "clip", note)
        patch.setattr(DiffusionModule, "log", listen)
        tiny_train(run_dir, *SETTINGS, *overrides)
    return {"seen": seen, "noise": noise, "gradients": gradients, "logged": logged}


def record(rank, run_dir, out, *overrides):
    torch.save(recorded(run_dir, *TWO, *overrides), out / f"{rank}.pt")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    together(2, record, folder / "two", folder, log=folder / "log")
    alone = recorded(folder / "one", "trainer.accumulate_grad_batches=2")
    return folder, alone, [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


def test_processes_see_disjoint_data_which_one_sees_alone(runs):
    _, alone, ranks = runs
    together = [part for step in zip(*(rank["seen"] for rank in ranks), strict=True) for part in step]
    assert all(torch.equal(one, other) for one, other in zip(alone["seen"], together, strict=True))
    first, second = ({x.numpy().tobytes() for x in torch.cat(rank["seen"])} for rank in ranks)
    assert not first & second


def test_processes_draw_different_noise_which_one_draws_alone(runs):
    _, alone, ranks = runs
    assert alone["noise"] == [seed for step in zip(*(rank["noise"] for rank in ranks), strict=True) for seed in step]
    assert len(set(alone["noise"])) == 2 * STEPS


def validate_one(rank, run_dir):
    tiny_train(run_dir, *TWO, "loader.holdout=0.0001", "trainer.max_steps=1", "trainer.val_check_interval=1")


def test_processes_share_a_single_held_out_sample(tmp_path):
    said = together(2, validate_one, tmp_path / "run", log=tmp_path / "log")
    assert any(" 1 held out" in each for each in said)
    assert "val/loss" in (tmp_path / "run" / "logs" / "csv" / "metrics.csv").read_text()


def test_gradients_are_those_of_one_process_with_the_whole_batch(runs):
    _, alone, ranks = runs
    for one, first, second in zip(alone["gradients"], *(rank["gradients"] for rank in ranks), strict=True):
        assert torch.equal(first, second)
        torch.testing.assert_close(first, one, rtol=1e-6, atol=1e-6)


def test_weights_and_their_average_are_those_of_one_process(runs):
    folder, _, _ = runs
    one, two = weights(folder / "one"), weights(folder / "two")
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-4, atol=1e-5)


def test_losses_are_logged_alike_in_all_processes(runs):
    _, alone, (first, second) = runs
    validation = {name for name in alone["logged"] if name.startswith("val/")}
    assert len(validation) == 5
    assert {name: first["logged"][name] for name in validation} == {name: second["logged"][name] for name in validation}
    assert all(first["logged"][name] == pytest.approx(alone["logged"][name], rel=1e-4) for name in validation)


def test_one_process_writes(runs):
    folder, _, _ = runs
    assert [path.name for path in (folder / "two" / "checkpoints").iterdir()] == ["step_00000004.ckpt"]
    assert (folder / "two" / "lowest_loss" / "model.safetensors").exists()


def resume(rank, run_dir):
    tiny_train(run_dir, *SETTINGS, *TWO, "trainer.max_steps=8", "resume=true")


@pytest.mark.slow
def test_a_checkpoint_of_two_processes_resumes_on_one_and_back(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    together(2, begin, two, log=tmp_path / "log")
    tiny_train(one, *SETTINGS, "trainer.accumulate_grad_batches=2")
    together(2, resume, one, log=tmp_path / "log")
    tiny_train(two, *SETTINGS, "trainer.max_steps=8", "trainer.accumulate_grad_batches=2", "resume=true")
    expected = weights(two)
    for name, value in weights(one).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-4)


def begin(rank, run_dir):
    tiny_train(run_dir, *SETTINGS, *TWO)


def linger(rank, run_dir):
    """The hook runs after Lightning has put the handlers of signals back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DiffusionModule, "on_fit_end", lambda self: time.sleep(1.5))
        tiny_train(run_dir, *SETTINGS, *TWO)


@pytest.mark.slow
def test_the_clock_of_a_graceful_stop_ends_with_training(tmp_path):
    together(2, linger, tmp_path / "run", log=tmp_path / "log")


def match(rank, run_dir, teacher):
    given = (f"teacher={teacher}", f"init={teacher}", "guidance=1.0", "objective.every=2")
    tiny_train(run_dir, *SETTINGS, *TWO, "objective=distribution_matching", *given)


@pytest.mark.slow
def test_networks_that_do_not_learn_in_every_step_train_in_two_processes(model, tmp_path):
    together(2, match, tmp_path / "run", model, log=tmp_path / "log")
    state = torch.load(newest_checkpoint(tmp_path / "run" / "checkpoints"), weights_only=True)
    assert state["global_step"] == STEPS
    before, after = weights(model), weights(tmp_path / "run")
    assert any(not torch.equal(before[name], value) for name, value in after.items() if name in before)


def fail_on_one(rank, run_dir, out):
    """The first process alone has a non-finite loss, twice; then it alone is asked to stop."""
    original = Objective.__call__

    def fail(self, context):
        return original(self, context) * (float("nan") if rank == 0 and next(calls) in (1, 2) else 1)

    calls = iter(range(100))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Objective, "__call__", fail)
        result = tiny_train(run_dir, *SETTINGS, *TWO, "trainer.max_steps=6")
    (out / f"{rank}.json").write_text(json.dumps(result.steps))


def test_a_non_finite_loss_in_one_process_changes_nothing_in_any(tmp_path):
    together(2, fail_on_one, tmp_path / "run", tmp_path, log=tmp_path / "log")
    state = torch.load(newest_checkpoint(tmp_path / "run" / "checkpoints"), weights_only=True)
    assert state["stability"]["skipped"] == 2
    assert all(value.isfinite().all() for value in weights(tmp_path / "run").values())
    assert weights(tmp_path / "run")["ema.updates"] == 4


def stop_one(rank, run_dir, out):
    from multidiff.training.stop import GracefulStop, Request  # noqa: PLC0415

    original = GracefulStop.on_train_batch_end

    def ask(self, trainer, module, outputs, batch, batch_idx):
        if rank == 1 and batch_idx == 2:
            self.request = Request.STOP
        original(self, trainer, module, outputs, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GracefulStop, "on_train_batch_end", ask)
        (out / f"{rank}.json").write_text(json.dumps(tiny_train(run_dir, *SETTINGS, *TWO).steps))


@pytest.mark.slow
def test_a_stop_that_one_process_is_asked_for_stops_all_after_the_same_step(tmp_path):
    together(2, stop_one, tmp_path / "run", tmp_path, log=tmp_path / "log")
    assert [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)] == [3, 3]


def command(rank, arguments):
    sys.argv = ["multidiff", *map(str, arguments)]
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("model") / "run"
    tiny_train(run_dir, "trainer.max_steps=1")
    return run_dir


def test_samples_are_the_same_files_whatever_the_number_of_processes(model, tmp_path):
    def arguments(out):
        return ["sample", model, "-n", 11, "--batch-size", 3, "--steps", 2, "--label", 1, "--label", 2, "--out", out]

    together(1, command, arguments(tmp_path / "one"), log=tmp_path / "log")
    said = together(2, command, arguments(tmp_path / "two"), log=tmp_path / "log")
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one == two
    assert len(one) == 13
    assert [text.count("11 samples in") for text in said] == [1, 0]


@pytest.mark.slow
def test_the_command_says_once_what_came_of_it_and_needs_a_common_directory(tmp_path):
    train = ["train", *TINY, *SETTINGS, "trainer=cpu_ddp", "trainer.val_check_interval=100"]
    said = together(2, command, [*train, f"run_dir={tmp_path / 'run'}"], log=tmp_path / "log")
    assert [text.count("4 steps, 32 training samples") for text in said] == [1, 0]
    with pytest.raises(AssertionError, match="give run_dir=DIR"):
        together(2, command, train, log=tmp_path / "log")
