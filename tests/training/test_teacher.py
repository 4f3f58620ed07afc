"""Models that a training learns from, or starts from, fit what it asks of them."""

import pytest

from multidiff.errors import InputError
from multidiff.training.run import build
from multidiff.training.train import train
from tests.tiny import TINY, fast_compose, tiny_train

PLAIN = ("conditioning=none", "guidance=1.0", "trainer.max_steps=1")


def unconditional(run_dir, *overrides):
    config = fast_compose([*(each for each in TINY if "label" not in each), *PLAIN, *overrides])
    config.run_dir = str(run_dir)
    return config


def test_only_guidance_that_has_an_effect_is_learned(tmp_path):
    """A teacher with a condition, or with the scale as an input, has guided estimates; others have none."""
    labelled = tiny_train(tmp_path / "labelled", "trainer.max_steps=1").run_dir
    plain = train(unconditional(tmp_path / "plain")).run_dir
    distilled = "objective=guided_distillation"
    scaled = train(unconditional(tmp_path / "scaled", distilled, f"teacher={labelled}")).run_dir
    fewer = ("objective=progressive_distillation", "objective.guidance=2.0")
    build(unconditional(tmp_path / "run", *fewer, f"teacher={scaled}"))
    build(unconditional(tmp_path / "run", distilled, f"teacher={plain}", "objective.guidance=1"))
    for asked in ((distilled, f"teacher={plain}"), ("objective=mean_flow", "objective.guidance=2.0")):
        with pytest.raises(InputError, match=r"guidance needs a condition.*: set objective\.guidance=1"):
            build(unconditional(tmp_path / "run", *asked))
