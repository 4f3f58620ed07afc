"""`multidiff sample` writes what was requested, and every mistake is one line and status 2."""

import json

import pytest
from PIL import Image

from modalities.image.files import read_metadata
from multidiff.data.files import sha256
from tests.cli.command import PICTURES, multidiff, refused


def test_sample_writes_files_a_preview_and_a_record(run_dir, tmp_path):
    out = tmp_path / "out"
    done = multidiff("sample", run_dir, "-n", 3, "--label", 3, "--label", 5, "--steps", 2, "--out", out, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in out.iterdir()} == {
        "00000.png",
        "00001.png",
        "00002.png",
        "preview.png",
        "samples.json",
    }
    record = json.loads((out / "samples.json").read_text())
    assert record["model_sha256"] == sha256(run_dir / "model" / "model.safetensors")
    assert record["sampler"]["name"] == "dpmpp_2m"
    assert record["sampler"]["steps"] == 2
    assert [file["fields"] for file in record["files"]] == [{"label": "3"}, {"label": "5"}, {"label": "3"}]
    for file in record["files"]:
        assert file["sha256"] == sha256(out / file["file"])
    inside = read_metadata(out / "00001.png")
    assert (inside["samples"][1], inside["index"], inside["seeds"]["seed"]) == ({"label": "5"}, 1, 0)


def test_sample_starts_from_a_file(run_dir, tmp_path):
    Image.new("L", (8, 8), 100).save(tmp_path / "gray.png")
    mask = Image.new("L", (8, 8))
    mask.paste(255, (4, 0, 8, 8))
    mask.save(tmp_path / "mask.png")
    for out, options in {"a": ("--strength", 0.5), "b": ("--mask", "mask.png"), "c": ("--extend", 4)}.items():
        request = ("sample", run_dir, "-n", 1, "--steps", 2, "--init", "gray.png", *options, "--out", out)
        done = multidiff(*request, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        record = json.loads((tmp_path / out / "samples.json").read_text())
        assert record["edit"]["init"]["sha256"] == sha256(tmp_path / "gray.png")
    left = Image.open(tmp_path / "b" / "00000.png").crop((0, 0, 4, 8))
    assert set(left.tobytes()) == {100}
    assert Image.open(tmp_path / "c" / "00000.png").size == (12, 8)


@pytest.mark.parametrize(
    ("arguments", "saying"),
    [
        (["--init", "gray.png"], "an edit needs --init FILE and one of --strength, --mask"),
        (["--strength", 0.5], "an edit needs --init FILE and one of"),
        (["--init", "gray.png", "--strength", 0.5, "--extend", 3], "an edit needs --init FILE and one of"),
        (["--init", "none.png", "--strength", 0.5], "none.png"),
        (["--init", "gray.png", "--strength", 2], "strength must be above 0"),
        (["--init", "gray.png", "--mask", "none.png"], "none.png"),
        (["--init", "gray.png", "--mask", "gray.png"], "the mask is false everywhere"),
        (["--init", "gray.png", "--extend", 0], "takes an amount above 0"),
    ],
)
def test_wrong_files_to_start_from(run_dir, tmp_path, arguments, saying):
    Image.new("L", (8, 8), 100).save(tmp_path / "gray.png")
    refused("sample", run_dir, "--out", "out", *arguments, cwd=tmp_path, saying=saying)


@pytest.fixture(scope="module")
def captioned(tmp_path_factory):
    """Pictures with captions."""
    folder = tmp_path_factory.mktemp("captioned") / "pictures"
    folder.mkdir()
    for colour in ("red", "blue", "green"):
        Image.new("RGB", (9, 9), colour).save(folder / f"{colour}.png")
        (folder / f"{colour}.txt").write_text(f"A {colour} square")
    return folder


def test_captions_become_prompts(captioned, tmp_path, caplog):
    training = ("train", *PICTURES, f"data.root={captioned}", "run_dir=run", "conditioning=text", "trainer.max_steps=1")
    training += ("conditioning.caption.dim=32",)
    assert multidiff(*training, cwd=tmp_path).returncode == 0
    request = ("sample", "run", "--steps", 2, "--out")
    done = multidiff(*request, "a", "-n", 2, "--prompt", "a (red:1.3) square", "--prompt", "", cwd=tmp_path)
    assert (done.returncode, caplog.messages) == (0, [])
    assert Image.open(tmp_path / "a" / "00000.png").mode == "RGB"
    assert read_metadata(tmp_path / "a" / "00000.png")["samples"][0] == {"caption": "a (red:1.3) square"}
    (tmp_path / "prompts.txt").write_text("\ufeffa red dog\r\n\nthe dog of 日本\n")
    done = multidiff(*request, "b", "--prompts", "prompts.txt", "--guidance", 2, "--negative", "wug", cwd=tmp_path)
    assert done.returncode == 0
    assert caplog.messages == ["training never saw these words: dog, the, of, 日本, wug"]
    record = json.loads((tmp_path / "b" / "samples.json").read_text())
    assert [file["fields"] for file in record["files"]] == [{"caption": "a red dog"}, {"caption": "the dog of 日本"}]
    (tmp_path / "utf16.txt").write_bytes("a red dog".encode("utf-16-le"))
    (tmp_path / "empty.txt").write_text("\n \n")
    for file, saying in {"utf16.txt": "not text in UTF-8", "empty.txt": "no prompt", "no.txt": "No such file"}.items():
        refused(*request, "no", "--prompts", file, cwd=tmp_path, saying=f"{file}")
        refused(*request, "no", "--prompts", file, cwd=tmp_path, saying=saying)
    refused(*request, "no", "--prompt", "a (red:x) dog", cwd=tmp_path, saying="the weight 'x' in the prompt")
    refused(*request, "no", "--prompt", "a", "--prompts", "prompts.txt", cwd=tmp_path, saying="not both")
    refused(*request, "no", "--label", "red", cwd=tmp_path, saying="it takes prompt")


def test_a_closed_vocabulary_refuses_other_words(captioned, tmp_path):
    training = (
        "train",
        *PICTURES,
        f"data.root={captioned}",
        "run_dir=run",
        "conditioning=words",
        "trainer.max_steps=1",
    )
    assert multidiff(*training, cwd=tmp_path).returncode == 0
    refused("sample", "run", "--out", "no", "--prompt", "a red dog", cwd=tmp_path, saying="'dog' in the prompt")


@pytest.mark.parametrize(
    ("arguments", "saying"),
    [
        (["-n", 0], "at least 1"),
        (["-n", 1, "--label", 3, "--label", 4], "2 values of label need as many samples, and n is 1: raise -n to 2"),
        (["--label", "x"], "it knows: 0, 1"),
        (["--prompt", "a cat"], "it takes label"),
        (["--sampler", "x"], "there are: adaptive, "),
        (["--steps", 0], "steps must be an integer from 1 to 100000, got 0"),
        (["--guidance", "-1", "--label", 3], "guidance scale"),
        (["--guidance", 3], "guidance needs a condition to follow"),
        (["--guidance", 2, "--guidance-rule", "x"], "there are: apg, cfg"),
        (["--guidance", 2, "--negative", "x"], "it knows: 0, 1"),
        (["--sampler", "nowhere.yaml"], "nowhere.yaml"),
        (["--format", "gif"], "it writes: .png"),
        (["--set", "points=100"], "points: neither a field of this model nor a setting of the modality image"),
        (["--set", "label=no"], "the label 'no'; it knows: 0, 1"),
        (["--set", "label=007"], "the label '007'; it knows: 0, 1"),
        (["--set", "points"], "--set takes KEY=VALUE, got 'points'"),
        (
            ["--guidance", 2, "--label", 3, "--guidance-field", "x"],
            "guidance on 'x': this model has no such condition; it has label",
        ),
        (["--sampler", "dpm2"], "the sampler dpm2 is now called midpoint"),
        (["--turntable"], "--turntable needs samples that can be rotated"),
        (["--seed", 2**64], "64 bits"),
        (["-n", "many"], "Invalid value for '-n'"),
        (["--lable", "3"], "--lable"),
        (["--out", "/proc/nowhere"], "/proc/nowhere"),
    ],
)
def test_wrong_sampling_requests(run_dir, tmp_path, arguments, saying):
    refused("sample", run_dir, "--out", "out", *arguments, cwd=tmp_path, saying=saying)


def test_samples_are_not_mixed_with_others(run_dir, tmp_path):
    assert multidiff("sample", run_dir, "-n", 1, "--steps", 1, "--out", "out", cwd=tmp_path).returncode == 0
    refused("sample", run_dir, "-n", 1, "--steps", 1, "--out", "out", cwd=tmp_path, saying="not an empty folder")


def test_a_model_that_is_not_there(tmp_path):
    refused("sample", "nowhere", "--out", "out", cwd=tmp_path, saying="there is no model at nowhere")


def test_several_fields_condition_and_one_of_them_guides(tmp_path):
    folder = tmp_path / "pictures"
    lines = []
    for i, colour in enumerate(("red", "blue", "green", "gray")):
        (folder / colour).mkdir(parents=True)
        Image.new("RGB", (9, 9), colour).save(folder / colour / "a.png")
        lines.append(json.dumps({"file_name": f"{colour}/a.png", "text": f"a {colour} square", "tempo": 60 + 20 * i}))
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    number = "+conditioning.tempo={_target_: multidiff.conditioners.NumberConditioner, dim: 8}"
    training = ("train", *PICTURES, f"data.root={folder}", "run_dir=run", "conditioning=[label,text]", number)
    done = multidiff(*training, "trainer.max_steps=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    asked = ("--label", "red", "--prompt", "a blue square", "--set", "tempo=90")
    request = ("sample", "run", "-n", 1, "--steps", 1, *asked)
    done = multidiff(*request, "--guidance", 2, "--guidance-field", "caption", "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out" / "samples.json").read_text())
    assert record["samples"] == [{"label": "red", "caption": "a blue square", "tempo": 90}]
    assert record["guidance"]["field"] == "caption"
    saying = "tempo=300 is outside of the training data, which run from 60 to 120"
    refused("sample", "run", "--set", "tempo=300", "--out", "no", cwd=tmp_path, saying=saying)
