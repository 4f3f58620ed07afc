"""A plan validates once, is JSON, and generates the same samples again."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

import multidiff
from multidiff.cli.sample import run
from multidiff.errors import InputError
from multidiff.sampling.plan import shortest_cycle
from multidiff.sampling.reproduce import plan_from, reproduce_samples
from multidiff.sampling.seeds import seeds_from
from tests.tiny import tiny_train


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("plan") / "run"
    tiny_train(run_dir, "trainer.max_steps=3", "optimizer.lr=1e-2", "warmup_steps=0", "ema=constant")
    return run_dir


@pytest.fixture(scope="module")
def pipeline(run_dir):
    return multidiff.load(run_dir)


def again(pipeline, plan):
    return plan_from(pipeline, json.loads(plan.to_json()), None)


@pytest.mark.parametrize(
    "request_",
    [
        {"n": 5, "label": [1, 2], "steps": 3, "seed": -7, "batch_size": 2},
        {"n": 2, "label": 1, "steps": 3, "guidance": 2.0, "guidance_rule": "apg", "negative": 4, "sampler": "ddpm"},
        {"n": 2, "steps": 3},
    ],
)
def test_a_record_is_enough_to_generate_the_same(pipeline, request_):
    plan = pipeline.plan(**request_)
    for rows in plan.batches:
        assert torch.equal(plan.x0(rows), again(pipeline, plan).x0(rows))
    assert again(pipeline, plan).record() == plan.record()


def test_a_seed_of_other_programs_is_the_signed_integer_of_the_same_bits(pipeline):
    unsigned, signed = (pipeline.plan(1, steps=2, seed=seed) for seed in (2**64 - 7, -7))
    assert torch.equal(unsigned.x0(range(1)), signed.x0(range(1)))
    assert again(pipeline, unsigned).record() == signed.record()


def test_estimates_can_be_watched_and_change_nothing(pipeline):
    plan, estimates = pipeline.plan(2, label=1, steps=4, guidance=2.0), []
    watched = plan.x0(range(2), on_estimate=estimates.append)
    assert torch.equal(watched, plan.x0(range(2)))
    assert len(estimates) == 4
    assert torch.equal(estimates[-1], watched)


def test_everything_is_built_once(pipeline, monkeypatch):
    plan = pipeline.plan(4, label=1, steps=2, batch_size=1)
    monkeypatch.setattr("multidiff.sampling.plan.instantiate", None)
    assert len(list(plan.stream())) == 4


def test_generate_returns_the_requested_rows(pipeline):
    plan = pipeline.plan(6, label=[1, 2, 3], steps=2)
    everything = plan.generate()
    assert len(everything) == 6
    assert [image.tobytes() for image in plan.generate(range(2, 4))] == [image.tobytes() for image in everything[2:4]]


def test_guidance_by_a_function_has_no_record(pipeline):
    with pytest.raises(InputError, match="a guidance function has no record"):
        pipeline.plan(1, label=1, guidance=lambda denoiser: denoiser).to_json()


@pytest.mark.parametrize("record", [{}, {"format": 1}, {"format": 2}, {"format": 1, "sizes": 3, "guidance": None}])
def test_what_is_no_record_is_refused(pipeline, record):
    with pytest.raises(InputError, match="plan"):
        plan_from(pipeline, record, None)


@pytest.mark.parametrize(("samples", "cycle"), [("aaaa", "a"), ("ababa", "ab"), ("abca", "abc"), ("aab", "aab")])
def test_a_record_holds_the_shortest_cycle_of_the_samples(samples, cycle):
    assert shortest_cycle(samples) == cycle


@pytest.fixture(scope="module")
def folder(run_dir, tmp_path_factory):
    out = tmp_path_factory.mktemp("samples") / "out"
    run(str(run_dir), out, 5, {"label": ["1", "2"], "steps": 3, "guidance": 2.0, "seed": 4, "batch_size": 2})
    return out


class TestReproduce:
    def test_a_folder_and_a_file_are_equal_to_the_byte(self, folder):
        comparison = reproduce_samples(folder)
        assert (comparison.equal, comparison.compared) == (True, 5)
        assert reproduce_samples(folder / "00003.png").equal

    def test_a_file_alone_needs_its_model(self, folder, run_dir, tmp_path, monkeypatch):
        moved = shutil.copytree(run_dir / "model", tmp_path / "elsewhere/model")
        record = json.loads((folder / "samples.json").read_text())
        monkeypatch.chdir(tmp_path)
        image, path = Image.open(folder / "00001.png"), tmp_path / "alone" / "00001.png"
        path.parent.mkdir()
        shutil.copy(folder / "00001.png", path)
        assert json.loads(image.info["multidiff"])["multidiff"]["model_sha256"] == record["model_sha256"]
        assert reproduce_samples(path, moved).equal

    def test_a_difference_is_located(self, folder, tmp_path):
        changed = shutil.copytree(folder, tmp_path / "changed")
        image = Image.open(changed / "00002.png")
        info = image.info["multidiff"]
        image.putpixel((3, 5), 255 - image.getpixel((3, 5)))
        from PIL.PngImagePlugin import PngInfo  # noqa: PLC0415

        chunks = PngInfo()
        chunks.add_text("multidiff", info)
        image.save(changed / "00002.png", pnginfo=chunks)
        comparison = reproduce_samples(changed)
        assert not comparison.equal
        assert "00002.png: 1 of 64 values differ" in str(comparison)
        assert "[0, 5, 3]" in str(comparison)

    def test_an_edit_finds_its_file_near_or_is_given_it(self, folder, run_dir, tmp_path):
        from multidiff.cli.sample import run  # noqa: PLC0415

        init, near = tmp_path / "a" / "b" / "00000.png", tmp_path / "near" / "00000.png"
        for path in (init, near):
            path.parent.mkdir(parents=True)
            shutil.copy(folder / "00000.png", path)
        run(str(run_dir), tmp_path / "out", 2, {"steps": 3}, init=init, edits={"strength": 0.5})
        assert (tmp_path / "out" / "00000.png").is_file()  # of the same name
        assert reproduce_samples(tmp_path / "out", run_dir).equal
        near.write_bytes(b"another")
        with pytest.raises(InputError, match=r"the edit needs 00000\.png .* give it with --init PATH"):
            reproduce_samples(tmp_path / "out", run_dir)
        assert reproduce_samples(tmp_path / "out", run_dir, init).equal

    def test_a_mask_is_found_by_its_hash(self, folder, run_dir, tmp_path, monkeypatch):
        from multidiff.cli.sample import run  # noqa: PLC0415

        mask, out = tmp_path / "masks" / "round" / "mask.png", tmp_path / "out"
        mask.parent.mkdir(parents=True)
        Image.new("L", (8, 8), 255).save(mask)
        edit = {"init": folder / "00000.png", "edits": {"mask": str(mask)}}
        run(str(run_dir), out, 1, {"steps": 3}, **edit)
        with pytest.raises(InputError, match=r"the edit needs mask\.png .* give it with --mask PATH"):
            reproduce_samples(out, run_dir, folder / "00000.png")
        assert reproduce_samples(out, run_dir, folder / "00000.png", mask).equal
        Image.new("L", (8, 8), 0).save(mask)
        with pytest.raises(InputError, match="the edit needs mask"):
            reproduce_samples(out, run_dir, folder / "00000.png", mask)

    def test_the_originals_are_not_overwritten(self, folder):
        before = (folder / "00000.png").read_bytes()
        with pytest.raises(InputError, match="is not an empty folder"):
            reproduce_samples(folder, out=folder)
        assert (folder / "00000.png").read_bytes() == before

    @pytest.mark.parametrize("change", [{"samples": []}, {"n": None}, {"model_sha256": None}, {"seeds": 3}])
    def test_a_damaged_record_is_refused(self, folder, run_dir, tmp_path, change):
        damaged = shutil.copytree(folder, tmp_path / "damaged")
        record = {**json.loads((damaged / "samples.json").read_text()), **change}
        (damaged / "samples.json").write_text(json.dumps(record))
        with pytest.raises(InputError):
            reproduce_samples(damaged, run_dir)

    def test_a_plan_in_an_exported_sample_is_complete(self, run_dir, tmp_path):
        from multidiff.cli import export  # noqa: PLC0415

        export.run(run_dir, tmp_path / "out", "png", {}, n=2)
        assert reproduce_samples(tmp_path / "out" / "00001.png", run_dir).equal

    def test_what_cannot_be_reproduced_is_a_line(self, folder, run_dir, tmp_path):
        plain = tmp_path / "plain.png"
        Image.new("L", (8, 8)).save(plain)
        with pytest.raises(InputError, match="holds no plan"):
            reproduce_samples(plain)
        with pytest.raises(InputError, match=r"holds no samples\.json"):
            reproduce_samples(run_dir)
        other = tmp_path / "other"
        tiny_train(other, "trainer.max_steps=1")
        with pytest.raises(InputError, match="and the plan needs"):
            reproduce_samples(folder, other, None, None)


@pytest.mark.parametrize("seeds", ["7e72f945", [1, 2], {"kind": "other"}])
def test_what_is_no_record_of_seeds_is_refused(seeds):
    with pytest.raises(InputError, match="not a record of seeds"):
        seeds_from(seeds)


def test_a_record_of_absurdly_many_samples_is_refused(pipeline):
    record = {**pipeline.plan(1).record(), "n": 10**400}
    with pytest.raises(InputError, match="more than 1000000 samples"):
        plan_from(pipeline, record, lambda role, file: Path(file["file"]))


def test_a_record_of_absurdly_many_steps_is_refused(pipeline):
    record = pipeline.plan(1).record()
    with pytest.raises(InputError, match="steps must be an integer from 1 to"):
        plan_from(pipeline, {**record, "sampler": {**record["sampler"], "steps": 2**32 - 1}}, lambda role, file: Path())
