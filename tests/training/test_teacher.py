"""Models that a training learns from, or starts from, fit what it asks of them."""

import pytest
import torch
from PIL import Image

import multidiff
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
        with pytest.raises(InputError, match=r"guidance needs a condition, .* none .*: set objective\.guidance=1"):
            build(unconditional(tmp_path / "run", *asked))


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
    with pytest.raises(InputError, match="backbone and conditioning as there"):
        run("data.size=16", init, "backbone.widths=[8,16]")
    with pytest.raises(InputError, match=r"teacher .* and the student \(1, 16, 16\): make them equal"):
        run("data.size=16", "objective=distillation", f"teacher={small}")


CAPTIONS = (("a red ball", "ball"), ("two green zebras", "zebra"))


def captioned(folder, caption, label):
    """Three pictures with a caption, in a class."""
    (folder / label).mkdir(parents=True)
    for i in range(3):
        Image.new("L", (8, 8), 40 * i).save(folder / label / f"{i}.png")
        (folder / label / f"{i}.txt").write_text(caption)


@pytest.mark.parametrize(("kind", "further"), [("text", 0), ("words", 3)])
def test_a_model_keeps_what_its_words_and_classes_mean_when_it_starts_from_another(tmp_path, kind, further):
    """The encodings of the first model's prompts are equal; those of further words and classes have weights too."""
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder, (caption, label) in zip(folders, CAPTIONS, strict=True):
        captioned(folder, caption, label)
    tiny = [each for each in TINY if "label" not in each]
    common = (
        "data=image_folder",
        "data.size=8",
        f"conditioning=[label,{kind}]",
        "loader.batch_size=2",
        "trainer.max_steps=1",
    )
    first = tmp_path / "run"
    train(fast_compose([*tiny, *common, f"data.root={folders[0]}", f"run_dir={first}"]))
    known = multidiff.load(first, "cpu").model.conditioner

    settings = [*tiny, *common, f"data.root={folders[1]}", f"run_dir={tmp_path / 'tuned'}", f"init={first}"]
    run = build(fast_compose(settings))
    tuned = run.module.model.conditioner
    old = {"label": "ball", "caption": CAPTIONS[0][0]}
    new = {"label": "zebra", "caption": CAPTIONS[1][0]}
    torch.testing.assert_close(tuned.eval()([old]), known.eval()([old]), rtol=0, atol=0)
    assert tuned([new]) is not None
    label, caption = tuned
    assert label.choices == ("ball", "zebra")
    assert (
        caption.embedding.num_embeddings
        - next(part.embedding.num_embeddings for part in known if part.field == "caption")
        == further
    )

    train(fast_compose(settings))
    resumed = build(fast_compose([*settings, "resume=auto", "trainer.max_steps=2"]))
    assert resumed.settings["conditioning"] == run.settings["conditioning"]
