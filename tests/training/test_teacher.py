"""Models that a training learns from, or starts from, fit what it asks of them."""

import pytest
import torch
from PIL import Image

import multidiff
from multidiff.errors import InputError
from multidiff.training.announce import announced
from multidiff.training.run import build
from multidiff.training.train import train
from tests.tiny import TINY, fast_compose, tiny_train

PLAIN = ("conditioning=none", "guidance=1.0", "trainer.max_steps=1")


def unconditional(run_dir, *overrides):
    config = fast_compose([*(each for each in TINY if "label" not in each), *PLAIN, *overrides])
    config.run_dir = str(run_dir)
    return config


@pytest.mark.slow
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
        with pytest.raises(InputError, match=r"guidance needs a condition, .* none .*: set objective\.guidance=1"):
            build(unconditional(tmp_path / "run", *asked))


def test_a_student_has_the_guidance_that_it_learns_and_another_that_was_wanted_is_told(tmp_path, caplog):
    teacher = tiny_train(tmp_path / "teacher", "trainer.max_steps=1").run_dir
    given = (*TINY, "objective=consistency", f"teacher={teacher}", "objective.guidance=3.0")
    message = "the model is not trained for guidance=2: its default becomes 3; objective.guidance=2 trains it"
    for wanted, told in ((1, []), (2, [message])):
        caplog.clear()
        run = build(fast_compose([*given, f"guidance={wanted}.0", f"run_dir={tmp_path}/{wanted}"]))
        assert run.pipeline.guidance == 3
        assert [line for line in announced(run) if line.endswith("label, guidance 3")]
        assert [text for text in caplog.messages if "guidance" in text] == told


def test_a_model_of_other_sizes_starts_from_one_of_fewer_pixels(tmp_path):
    for label in ("cats", "dogs"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for i in range(3):
            Image.new("L", (16, 16), 40 * i).save(tmp_path / "data" / label / f"{i}.png")
    data = ("data=image_folder", f"data.root={tmp_path / 'data'}", "loader.batch_size=2", "trainer.max_steps=1")
    small = tiny_train(tmp_path / "small", *data, "data.size=8").run_dir

    def run(*overrides):
        return build(fast_compose([*TINY, *data, f"run_dir={tmp_path / 'large'}", *overrides]))

    init = f"init={small}"
    large = run("data.size=16", init).module.model.state_dict()
    known = multidiff.load(small, "cpu").model.state_dict()
    assert all(torch.equal(large[name], weight) for name, weight in known.items())
    with pytest.raises(InputError, match="and the number of axes must be equal"):
        run("data.size=8", init, "modality.channels=3")
    with pytest.raises(InputError, match="backbone and conditioning as in that model"):
        run("data.size=16", init, "backbone.widths=[8,16]")
    with pytest.raises(InputError, match=r"teacher .* the student of \(1, 16, 16\): make them equal"):
        run("data.size=16", "objective=distillation", f"teacher={small}")
