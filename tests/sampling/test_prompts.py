"""Prompts at sampling: encoded once, with noise of their own seed alone, and exactly as in training."""

import json
import logging

import pytest
import torch
from PIL import Image

import multidiff
from multidiff.configuration import compose
from multidiff.errors import InputError
from multidiff.sampling.reproduce import plan_from
from multidiff.training.train import train
from tests.tiny import TINY

COLOURS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    root = tmp_path_factory.mktemp("prompts")
    (root / "pictures").mkdir()
    for colour in COLOURS:
        Image.new("RGB", (8, 8), colour).save(root / "pictures" / f"{colour}.png")
        (root / "pictures" / f"{colour}.txt").write_text(f"A {colour} square (plain")
    settings = ["modality.channels=3", "conditioning=text", "conditioning.caption.dim=32"]
    fast = ["trainer.max_steps=3", "optimizer.lr=1e-2", "warmup_steps=0", "ema=constant", "loader.batch_size=2"]
    data = [
        "data=image_folder",
        f"data.root={root / 'pictures'}",
        "data.size=8",
        "loader.holdout=0.3",
        "data.flip=false",
    ]
    own = [override for override in TINY if "label" not in override]
    config = compose([*own, *data, *settings, *fast, "callbacks.previews.every=3", f"run_dir={root / 'run'}"])
    train(config)
    return root / "run"


@pytest.fixture(scope="module")
def pipeline(run_dir):
    return multidiff.load(run_dir)


def pixels(images):
    return [image.tobytes() for image in images]


def test_captions_with_brackets_train_and_preview(run_dir):
    assert list((run_dir / "previews").glob("*.png"))


def test_a_sample_depends_on_its_prompt_and_seed_alone(pipeline):
    request = {"steps": 2, "batch_size": 3}
    several = pipeline.plan(4, prompt=["a red square", "a much longer prompt of a green square"], **request)
    alone = pipeline.plan(4, prompt="a red square", **request)
    condition = [plan.conditions()(plan.fields(range(4))) for plan in (several, alone)]
    assert torch.equal(condition[0].vector[::2], condition[1].vector[::2])
    for rows in several.batches:
        noise = [plan.seeds.noise(rows, pipeline.noise).start() for plan in (several, alone)]
        assert torch.equal(*noise)
        apart = several.x0(rows) - alone.x0(rows)
        for row, difference in zip(rows, apart, strict=True):
            assert (difference.abs().max() < 1e-5) == (row % 2 == 0)


def test_n_versions_of_each_prompt_are_those_of_the_prompt_alone(pipeline):
    texts = ["a red square", "a blue dog"]
    together = pixels(pipeline.sample(2, prompts=texts, steps=2, seed=3, batch_size=1))
    alone = [pixels(pipeline.sample(2, prompt=text, steps=2, seed=3, batch_size=1)) for text in texts]
    assert together == [image for images in alone for image in images]


def test_versions_of_a_prompt_take_further_fields_in_turn(pipeline, monkeypatch):
    monkeypatch.setattr(pipeline.model.conditioner, "reads", ("label", "caption"))
    plan = pipeline.plan(3, prompts=["a red square", "a dog"], label=["x", "y"], steps=1)
    assert [fields["label"] for fields in plan.samples] == ["x", "y", "x"] * 2
    assert [fields["caption"] for fields in plan.samples] == ["a red square"] * 3 + ["a dog"] * 3


def test_guidance_is_off_where_all_prompts_are_empty(pipeline, monkeypatch):
    monkeypatch.setattr(pipeline, "guidance", 3.0)
    plans = [pipeline.plan(2, prompt=prompt, steps=1) for prompt in (" ", "( )", ["", "a dog"])]
    assert [plan.guidance.scale for plan in plans] == [1.0, 1.0, 3.0]


def test_a_record_of_versions_generates_the_same(pipeline):
    plan = pipeline.plan(
        2, prompts=["a (red:1.4) square", "", "a dog"], steps=2, batch_size=4, guidance=2, negative="[a]"
    )
    again = plan_from(pipeline, json.loads(plan.to_json()), None)
    assert len(again) == 6
    for rows in plan.batches:
        assert torch.equal(plan.x0(rows), again.x0(rows))


def test_a_distinct_prompt_is_encoded_once_in_a_call(pipeline):
    read = []
    (part,) = pipeline.model.conditioner
    with part.encoder.register_forward_pre_hook(lambda _, arguments: read.append(len(arguments[0]))):
        list(pipeline.plan(9, prompt=["a", "b", "a b"], steps=2, batch_size=2, guidance=2, negative="b").stream())
    assert read == [1, 1, 1]


def test_an_empty_prompt_is_the_null_condition(pipeline):
    empty, nothing = (pipeline.sample(1, steps=2, **request) for request in ({"prompt": " "}, {}))
    assert pixels(empty) == pixels(nothing)


def test_weight_1_changes_no_bit_of_a_sample_and_others_change_it(pipeline):
    plain, one, strong = (
        pipeline.plan(1, prompt=prompt, steps=2).x0(range(1))
        for prompt in ("a red square", "a (red:1.0) square", "a (red:1.5) square")
    )
    assert torch.equal(plain, one)
    assert not torch.equal(plain, strong)


def test_remarks_come_once(pipeline, caplog):
    with caplog.at_level(logging.WARNING):
        pipeline.sample(6, prompt=["a purple square", "purple dog"], steps=2, batch_size=2)
    assert [record.message for record in caplog.records] == ["training never saw these words: purple, dog"]
    caplog.clear()
    pipeline.plan(1, prompt="z" * 100)
    assert caplog.records[0].message == f"training never saw these words: {'z' * 57}..."
    caplog.clear()
    long = "square " * 64 + "and the rest"
    pipeline.plan(1, prompt=long)
    assert (
        caplog.records[-1].message
        == f"the prompt is too long for this model; cut off: 'and the rest' of '{long[:57]}...'"
    )


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"prompt": "a (red"}, r"has an unclosed '\('"),
        ({"prompt": "a", "guidance": 2, "negative": "(b:x)"}, "the weight 'x'"),
        ({"prompts": []}, "at least 1"),
        ({"prompts": "a"}, "a list of texts"),
        ({"prompts": ["a", None]}, "a list of texts"),
        ({"prompts": ["a"], "prompt": "b"}, "not both"),
        ({"prompts": ["a"], "fields": {"caption": "b"}}, "not both"),
        ({"prompt": {"a": 1}}, "caption is a text, not {'a': 1}"),
        ({"label": "a"}, "it takes prompt"),
    ],
)
def test_wrong_prompts(pipeline, request_, message):
    with pytest.raises(InputError, match=message):
        pipeline.plan(2, **request_)
