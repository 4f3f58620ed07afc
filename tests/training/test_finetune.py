"""A training that starts from a trained model, on data of one's own."""

import json
import math
import shutil

import pytest
import torch
import yaml
from PIL import Image

import multidiff
from multidiff.bundled import bundled
from multidiff.cli.inspection import inspected
from multidiff.errors import InputError
from multidiff.sampling.lineage import licence_of, lineage
from multidiff.sampling.packing import pack
from multidiff.training.announce import announced
from multidiff.training.origin import ADOPTED
from multidiff.training.run import build
from multidiff.training.train import train
from tests.tiny import TINY, fast_compose, tiny_train
from tests.tiny_codec import train_codec

FINETUNE = ("experiment=finetune", "data=image_folder", "data.size=8", "trainer.max_steps=1")
FAST = (
    "optimizer=adamw",
    "loader.workers=0",
    "loader.batch_size=2",
    "callbacks.previews.every=0",
    "trainer.accelerator=cpu",
)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """A model of digits that knows their classes."""
    given = ("objective=min_snr", "sampler=ddim", "guidance=1.5", "trainer.max_steps=1")
    return tiny_train(tmp_path_factory.mktemp("labelled") / "run", *given).run_dir


def plain(folder):
    """Pictures without classes and captions, in ``folder``."""
    (folder / "pictures").mkdir()
    for i in range(4):
        Image.new("L", (8, 8), 40 * i).save(folder / "pictures" / f"{i}.png")
    return folder / "pictures"


@pytest.fixture(scope="module")
def tuned(labelled, tmp_path_factory):
    """The words of a training on pictures without classes, whose learning rate is 0, after its only step."""
    folder = tmp_path_factory.mktemp("tuned")
    words = (plain(folder), folder / "run", f"init={labelled}", "optimizer.lr=0.0")
    train(finetuning(*words))
    return words


@pytest.fixture
def pictures(tmp_path):
    return plain(tmp_path)


def finetuning(pictures, run_dir, *overrides):
    return fast_compose([*FINETUNE, *FAST, f"data.root={pictures}", f"run_dir={run_dir}", *overrides])


def test_what_is_left_open_is_that_of_the_first_model(labelled, tuned):
    """Also what the data lack: its classes can still be asked for."""
    run_dir = tuned[1]
    theirs, ours = (yaml.safe_load((each / "model" / "config.yaml").read_text()) for each in (labelled, run_dir))
    assert {name: ours[name] for name in ADOPTED} == {name: theirs[name] for name in ADOPTED}
    tuned, first = (multidiff.load(each, "cpu").sample(2, label="3", seed=1) for each in (run_dir, labelled))
    assert [each.tobytes() for each in tuned] == [each.tobytes() for each in first]


def test_what_is_given_is_not_that_of_the_first_model(labelled, pictures, tmp_path):
    run = build(finetuning(pictures, tmp_path / "run", f"init={labelled}", "objective=denoising", "guidance=3.0"))
    assert run.pipeline.guidance == 3.0
    assert run.pipeline.sampler["name"] == "ddim"
    assert "Uniform" in run.settings["objective"]["weighting"]["_target_"]


def test_a_student_has_the_sampler_that_its_objective_needs(labelled, pictures, tmp_path):
    few = train(finetuning(pictures, tmp_path / "few", f"init={labelled}", "objective=consistency")).run_dir
    assert multidiff.load(few, "cpu").sampler["name"] == "consistency"
    again = build(finetuning(pictures, tmp_path / "again", f"init={few}"))
    assert again.pipeline.sampler["name"] == "consistency"
    plain = build(finetuning(pictures, tmp_path / "plain", f"init={few}", "objective=denoising"))
    assert plain.pipeline.sampler["name"] == "dpmpp_2m"


def test_a_model_is_told_the_noise_levels_that_it_and_the_first_model_were_trained_at(labelled, pictures, tmp_path):
    """Of log-normal noise levels and of uniform times: the nearer of both ends."""
    given = (f"init={labelled}", "objective=edm", "objective.times.of.mean=2.0", "objective.times.of.std=2.0")
    run_dir = train(finetuning(pictures, tmp_path / "run", *given)).run_dir
    first, tuned = (multidiff.load(each, "cpu").model.denoiser.log_snr_range for each in (labelled, run_dir))
    uniform = math.log(math.tan(math.pi / 2 * 0.999))
    assert first == pytest.approx((-uniform, uniform))
    assert tuned == pytest.approx((-uniform, -(2 - 2 * 3.0902323)))
    written = yaml.safe_load((run_dir / "model" / "config.yaml").read_text())
    assert tuple(written["log_snr_range"]) == tuned
    given = (f"init={labelled}", f"teacher={labelled}", "objective=distribution_matching")
    student = build(finetuning(pictures, tmp_path / "student", *given)).module
    assert student.model.denoiser.log_snr_range == student.fake_score.log_snr_range == first


def test_a_model_that_does_not_state_what_it_is_told_follows_its_objective(labelled, tmp_path):
    """As those of earlier versions."""
    shutil.copytree(labelled / "model", tmp_path / "model")
    file = tmp_path / "model" / "config.yaml"
    config = yaml.safe_load(file.read_text())
    stated = tuple(config.pop("log_snr_range"))
    file.write_text(yaml.safe_dump(config))
    assert multidiff.load(tmp_path / "model", "cpu").model.denoiser.log_snr_range == stated


def test_a_resumed_finetuning_needs_its_first_model_no_more(labelled, pictures, tmp_path):
    shutil.copytree(labelled / "model", tmp_path / "first")
    words = (pictures, tmp_path / "run", f"init={tmp_path / 'first'}")
    train(finetuning(*words))
    shutil.rmtree(tmp_path / "first")
    assert train(finetuning(*words, "resume=auto", "trainer.max_steps=2")).steps == 2


def test_a_run_is_resumed_with_the_first_model_that_it_started_from(tuned):
    with pytest.raises(InputError, match=r"was trained with init=.*: resume with the same"):
        build(finetuning(*tuned, "init=other", "resume=true"))


def test_a_teacher_estimates_samples_of_unknown_classes_without_the_class(labelled, pictures, tmp_path, caplog):
    for i, label in enumerate(("3", "crash", "3", "crash")):
        (pictures / label).mkdir(exist_ok=True)
        (pictures / f"{i}.png").rename(pictures / label / f"{i}.png")
    run = train(
        finetuning(pictures, tmp_path / "run", "objective=distillation", f"init={labelled}", f"teacher={labelled}")
    )
    assert "does not know the label crash" in caplog.text
    assert multidiff.load(run.run_dir, "cpu").model.conditioner.parts["label"].choices[-1] == "crash"


def colours(folder, labels, caption=None):
    """Pictures of 8x8 in a folder for each of ``labels``, or without classes."""
    for name in labels or ["."]:
        (folder / name).mkdir(parents=True)
        for i in range(2):
            Image.new("L", (8, 8), 90 * i).save(folder / name / f"{i}.png")
            if caption:
                (folder / name / f"{i}.txt").write_text(caption)
    return folder


def printed(folder, first, run_dir, *overrides):
    """Lines that a training on ``folder`` from the model ``first`` prints before it starts."""
    return announced(build(finetuning(folder, run_dir, f"init={first}", *overrides)))


def test_a_training_tells_what_is_new_to_the_first_model(labelled, tmp_path):
    lines = printed(colours(tmp_path / "data", ("3", "Four", "five")), labelled, tmp_path / "run")
    count = sum(weight.numel() for weight in multidiff.load(labelled, "cpu").model.parameters())
    assert f"start    {labelled} ({count / 1e6:.3g}M parameters): 2 of 12 classes are new: Four, five" in lines
    assert not [line for line in lines if "not used" in line or "as they were" in line]

    captioned = ("conditioning=words", "conditioning.caption.dropout=0.0")
    tiny = [each for each in TINY if "label" not in each and "experiment" not in each]
    data = colours(tmp_path / "words", ("a", "b"), "a red cat")
    common = ("experiment=image/digits", "data=image_folder", "data.size=8", "loader.batch_size=2")
    settings = [*tiny, *common, *captioned, "trainer.max_steps=1", f"data.root={data}", f"run_dir={tmp_path / 'first'}"]
    first = train(fast_compose(settings)).run_dir
    lines = printed(colours(tmp_path / "more", ("a", "b"), "a blue dog"), first, tmp_path / "second")
    assert any(line.startswith("start") and line.endswith("parameters): 2 of 5 words are new") for line in lines)
    assert "problem  the classes are not used: the model has no condition label" in lines
    with pytest.raises(InputError, match="the condition caption cannot be left out of those of"):
        build(finetuning(data, tmp_path / "third", f"init={first}", "conditioning=label"))


def test_a_training_tells_which_fields_the_first_model_misses_and_which_classes_are_known(labelled, pictures, tmp_path):
    lines = printed(pictures, labelled, tmp_path / "run")
    assert "problem  the data have no classes: the learned ones are kept" in lines
    assert next(line for line in lines if line.startswith("start")).endswith("M parameters)")
    renamed = tmp_path / "known"
    shutil.copytree(labelled / "model", renamed)
    config = yaml.safe_load((renamed / "config.yaml").read_text())
    config["conditioning"]["label"]["vocabulary"][3] = "closed_hat"
    (renamed / "config.yaml").write_text(yaml.safe_dump(config))
    lines = printed(colours(tmp_path / "data", ("1", "Closed hat")), renamed, tmp_path / "again")
    assert (
        "problem  the class 'Closed hat' is new, but 'closed_hat' is known: rename the folder to use that class"
        in lines
    )


def licensed(model, folder, licence):
    """A copy of ``model`` whose card states ``licence``."""
    shutil.copytree(model, folder)
    text = (folder / "README.md").read_text()
    (folder / "README.md").write_text(text.replace("---\n", f"---\nlicense: {licence}\n", 1))
    return folder


@pytest.mark.slow
def test_the_licence_and_the_name_of_the_first_model_are_kept(labelled, pictures, tmp_path):
    """After a resume without that model, in what is packed, and in what starts from it in turn."""
    first = licensed(labelled / "model", tmp_path / "first", "cc-by-sa-4.0")
    words = (pictures, tmp_path / "run", f"init={first}")
    train(finetuning(*words))
    shutil.rmtree(first)
    run_dir = train(finetuning(*words, "resume=auto", "trainer.max_steps=2")).run_dir
    assert licence_of(run_dir / "model") == "cc-by-sa-4.0"
    said = f"Started from {first}, licence cc-by-sa-4.0; the card of that model says whom to credit."
    assert said in (run_dir / "model" / "README.md").read_text()
    training = yaml.safe_load((run_dir / "model" / "config.yaml").read_text())["training"]
    assert training["init_sha256"] == multidiff.load(labelled, "cpu").sha256
    assert inspected(run_dir).facts["started from"] == f"{first}, licence cc-by-sa-4.0"

    pack(run_dir, tmp_path / "packed")
    pack(run_dir, tmp_path / "other", "mit")
    assert [licence_of(tmp_path / name) for name in ("packed", "other")] == ["cc-by-sa-4.0", "mit"]
    assert all(said in (tmp_path / name / "README.md").read_text() for name in ("packed", "other"))

    third = train(finetuning(pictures, tmp_path / "third", f"init={tmp_path / 'packed'}")).run_dir
    assert licence_of(third / "model") == "cc-by-sa-4.0"
    expected = f"{tmp_path / 'packed'}, which started from {first}, licence cc-by-sa-4.0"
    assert inspected(third).facts["started from"] == expected


def test_a_model_that_starts_from_one_without_a_licence_has_none(labelled, tuned):
    run_dir = tuned[1]
    assert licence_of(run_dir / "model") is None
    assert f"Started from {labelled}.\n" in (run_dir / "model" / "README.md").read_text()
    assert inspected(run_dir).facts["licence"] == "not stated"


def test_the_licence_of_a_teacher_is_kept(labelled, tmp_path):
    """Of a student with fresh weights, also after a resume."""
    teacher = licensed(labelled / "model", tmp_path / "teacher", "cc-by-4.0")
    words = ("objective=distillation", f"teacher={teacher}", "guidance=1.5")
    tiny_train(tmp_path / "run", *words, "trainer.max_steps=1")
    model = tiny_train(tmp_path / "run", *words, "trainer.max_steps=2", "resume=true").run_dir / "model"
    assert licence_of(model) == "cc-by-4.0"
    assert "Its teacher has the licence cc-by-4.0." in (model / "README.md").read_text()


def test_the_licence_of_a_codec_is_kept(tmp_path):
    train_codec(tmp_path / "codec")
    licensed(tmp_path / "codec" / "model", tmp_path / "licensed", "cc-by-4.0")
    latent = ("codec=learned", f"codec.path={tmp_path / 'licensed'}", "trainer.max_steps=1")
    model = tiny_train(tmp_path / "run", *latent).run_dir / "model"
    assert licence_of(model) == "cc-by-4.0"
    assert "Its codec has the licence cc-by-4.0." in (model / "README.md").read_text()
    assert lineage(None, None, {"path": str(bundled()["emoji"] / "codec"), "sha256": "any"}) == {
        "codec_licence": "cc-by-sa-4.0"
    }


def test_what_cannot_be_started_from_is_refused(labelled, pictures, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    config = yaml.safe_load((labelled / "model" / "config.yaml").read_text())
    del config["objective"]
    (model / "config.yaml").write_text(yaml.safe_dump(config))
    (model / "model.safetensors").write_bytes((labelled / "model" / "model.safetensors").read_bytes())
    for words, message in (
        ((), "give init=MODEL"),
        ((f"init={model}",), r"has no objective: give objective=\.\.\."),
        ((f"init={tmp_path / 'nowhere'}",), "nowhere"),
        ((f"init={labelled}", "modality=image", "modality.channels=3"), "channels .* must be equal"),
        (("init=drums",), "data.size is not a setting of audio data, which has seconds"),
        ((f"init={bundled()['emoji'] / 'codec'}",), "is a codec"),
    ):
        with pytest.raises(InputError, match=message):
            build(finetuning(pictures, tmp_path / "run", *words))
    build(finetuning(pictures, tmp_path / "run", f"init={model}", "objective=denoising"))


def test_a_run_without_a_validation_or_an_evaluation_is_said_to_have_no_best_model(labelled, pictures, tmp_path):
    for name, lack in (("lowest_loss", "no validation yet"), ("best", "no evaluation")):
        with pytest.raises(InputError, match=f"this run has had {lack}.*; use {labelled}$"):
            build(finetuning(pictures, tmp_path / "run", f"init={labelled / name}"))


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


def test_a_training_tells_that_the_first_model_makes_samples_of_another_size(labelled, pictures, tmp_path):
    lines = printed(pictures, labelled, tmp_path / "run", "data.size=4")
    assert any("it was trained on samples of 1x8x8 (data.size=[8,8]), and these are 1x4x4" in line for line in lines)


def test_captions_cannot_be_added(labelled, tmp_path):
    data = colours(tmp_path / "data", ("3", "4"), "a red ball")
    words = ("conditioning=[label,words]", "conditioning.label.dim=8")
    with pytest.raises(InputError, match="the condition caption cannot be added to those of"):
        build(finetuning(data, tmp_path / "run", f"init={labelled}", *words))


def test_a_further_field_has_no_effect_at_first_and_a_field_can_be_left_out(labelled, tmp_path):
    """The vector of a further field is multiplied by zero, wherever it lies among those of the others."""
    data = colours(tmp_path / "data", ("3", "4"))
    lines = [
        json.dumps({"file_name": f"{label}/{i}.png", "label": label, "seconds": i}) for label in "34" for i in (0, 1)
    ]
    (data / "metadata.jsonl").write_text("\n".join(lines))
    first = multidiff.load(labelled, "cpu").model
    assert list(first.conditioner.columns()) == ["label"]

    both = (f"init={labelled}", "conditioning=[seconds,label]")
    with pytest.raises(InputError, match=r"set conditioning\.label\.dim=8"):
        build(finetuning(data, tmp_path / "both", *both))
    both = build(finetuning(data, tmp_path / "both", *both, "conditioning.label.dim=8"))
    assert list(both.module.model.conditioner.columns()) == ["seconds", "label"]
    line = next(line for line in announced(both) if line.startswith("start"))
    assert "the condition seconds is new; 0 of 10" in line
    x, time = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0.5])
    for sample in ({"label": "4"}, {"label": "4", "seconds": 0.5}):
        cond, before = both.module.model.conditioner([sample]), first.conditioner([{"label": "4"}])
        ours = both.module.model.denoiser(x, time, cond)
        torch.testing.assert_close(ours, first.denoiser(x, time, before), rtol=0, atol=1e-6)

    none = build(finetuning(data, tmp_path / "none", f"init={labelled}", "conditioning=none"))
    assert any(line.endswith("its condition label is dropped") for line in announced(none))
    ours = none.module.model.denoiser(x, time, None)
    torch.testing.assert_close(ours, first.denoiser(x, time, None), rtol=0, atol=1e-6)

    plain = train(finetuning(data, tmp_path / "plain", f"init={labelled}", "conditioning=none")).run_dir
    classes = build(finetuning(data, tmp_path / "classes", f"init={plain}", "conditioning=label"))
    assert classes.module.model.denoiser.network.embedding.vector.weight.abs().max() == 0


def test_another_text_encoder_starts_with_fresh_weights_on_the_network_of_the_first_model(tmp_path):
    pytest.importorskip("wordllama")
    data = colours(tmp_path / "data", ("3", "4"), "a red ball")
    tiny = [each for each in TINY if "label" not in each and "experiment" not in each]
    common = ("experiment=image/digits", "data=image_folder", "data.size=8", "loader.batch_size=2", f"data.root={data}")
    small = ("conditioning.caption.dim=8", "conditioning.caption.head_size=4")
    settings = [*tiny, *common, "conditioning=text", *small, "trainer.max_steps=1", f"run_dir={tmp_path / 'first'}"]
    first = train(fast_compose(settings)).run_dir
    static = (f"init={first}", "conditioning=text_static", "conditioning.caption.head_size=4")
    run = build(finetuning(data, tmp_path / "static", *static, "conditioning.caption.dim=8"))
    ours, theirs = (each.model.state_dict() for each in (run.module, multidiff.load(first, "cpu")))
    network = [name for name in theirs if not name.startswith("conditioner.")]
    assert network
    for name in network:
        torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=0)
    line = next(line for line in announced(run) if line.startswith("start"))
    assert line.endswith("its TextConditioner of the caption is replaced by a new StaticTextConditioner")
    with pytest.raises(InputError, match=r"set conditioning\.caption\.dim=8"):
        build(finetuning(data, tmp_path / "wide", *static, "conditioning.caption.dim=16"))
    with pytest.raises(InputError, match=r"vectors of size 8 .* train 0: set conditioning\.caption as in that model"):
        build(finetuning(data, tmp_path / "words", f"init={first}", "conditioning=words"))
