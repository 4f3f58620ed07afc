"""The warning that the held-out loss rises."""

from pathlib import Path
from types import SimpleNamespace

from multidiff.training.memorisation import Memorisation

RUN = Path("run")


def validate(callback, losses, start=1):
    for step, values in enumerate(losses, start):
        trainer = SimpleNamespace(
            sanity_checking=False,
            is_global_zero=True,
            global_step=100 * step,
            callback_metrics={f"val/{name}": value for name, value in values.items()} | {"train/loss": 9.0},
        )
        callback.on_validation_end(trainer, None)


def test_a_rising_loss_is_told_once_with_the_step_of_the_lowest(caplog):
    validate(Memorisation(RUN), [{"loss": loss} for loss in (1.0, 0.8, 0.7, 0.75, 0.72, 0.9, 1.0, 1.1)])
    (line,) = caplog.messages
    assert line.startswith(
        "the held-out loss has risen since step 300: the model begins to memorise the training samples"
    )
    assert line.endswith("run/lowest_loss is the model with the lowest held-out loss")


def test_a_rise_in_one_range_of_noise_is_told(caplog):
    falling, rising = (1.0, 0.9, 0.8, 0.7, 0.6), (0.2, 0.1, 0.2, 0.2, 0.2)
    validate(Memorisation(RUN), [{"loss": a, "log_snr_0_to_2": b} for a, b in zip(falling, rising, strict=True)])
    assert "the held-out loss at log SNR 0 to 2 has risen since step 200" in caplog.text


def test_a_term_of_a_loss_may_rise(caplog):
    falling, rising = (1.0, 0.9, 0.8, 0.7, 0.6), (0.2, 0.3, 0.4, 0.5, 0.6)
    validate(Memorisation(RUN), [{"loss": a, "kl": b} for a, b in zip(falling, rising, strict=True)])
    assert not caplog.messages


def test_fluctuations_are_not_told(caplog):
    validate(Memorisation(RUN), [{"loss": loss} for loss in (1.0, 1.1, 1.1, 1.0, 1.01, 1.01, 1.01, 1.1)])
    assert not caplog.messages


def test_it_continues_after_a_resume(caplog):
    first, second = Memorisation(RUN), Memorisation(Path("run"))
    validate(first, [{"loss": loss} for loss in (0.5, 0.6, 0.6)])
    second.load_state_dict(first.state_dict())
    validate(second, [{"loss": 0.6}], start=4)
    assert "since step 100" in caplog.text
