"""A pipeline gives sample i of a seed, whatever else is asked for."""

import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from multidiff.configuration import group_options, load_option
from multidiff.diffusion.guidance import ClassifierFreeGuidance
from multidiff.errors import InputError
from multidiff.sampling.editing import Vary
from multidiff.sampling.requested import negative_of
from multidiff.sampling.sampler_config import RENAMED
from tests.sampling.images import close, pixels


def test_samples_are_pil_images_of_the_training_size(pipeline):
    images = pipeline.sample(4, label=3, steps=5, seed=0)
    assert len(images) == 4
    assert all(isinstance(image, Image.Image) and image.size == (8, 8) and image.mode == "L" for image in images)


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "ddpm"])
def test_the_first_four_of_forty_are_those_of_four(pipeline, sampler):
    four = pipeline.sample(4, label="3", sampler=sampler, steps=5)
    assert close(pipeline.sample(40, label="3", sampler=sampler, steps=5)[:4], four)
    assert close(pipeline.sample(4, label="3", sampler=sampler, steps=5, batch_size=1), four)
    assert pixels(pipeline.sample(4, label="3", sampler=sampler, steps=5)) == pixels(four)


def test_seeds_labels_and_guidance_matter(pipeline):
    base = pixels(pipeline.sample(2, label=3, steps=5))
    assert base[0] != base[1]
    assert pixels(pipeline.sample(2, label=3, steps=5, seed=1)) != base
    assert pixels(pipeline.sample(2, label=4, steps=5)) != base
    assert pixels(pipeline.sample(2, label=3, steps=5, guidance=4.0)) != base
    assert pixels(pipeline.sample(2, steps=5)) != base
    assert pixels(pipeline.sample(2, label=3, steps=5, guidance=0.0)) == pixels(pipeline.sample(2, steps=5))


@pytest.mark.parametrize(
    "sample",
    [
        lambda pipe, **wrong: pipe.sample(**wrong),
        lambda pipe, **wrong: pipe.inpaint(Image.new("L", (8, 8)), np.ones((8, 8)), **wrong),
        lambda pipe, **wrong: pipe.variations(0, **wrong),
        lambda pipe, **wrong: pipe.plan(**wrong),
    ],
    ids=["sample", "inpaint", "variations", "plan"],
)
def test_an_unknown_keyword_is_an_error(pipeline, sample):
    with pytest.raises(TypeError, match="labl"):
        sample(pipeline, labl=3)


def test_several_values_are_taken_in_turn(pipeline):
    assert [fields["label"] for fields in pipeline.plan(5, label=[1, "7"]).samples] == [1, "7", 1, "7", 1]


def test_a_sampler_by_name_brings_its_own_steps(pipeline):
    assert pipeline.plan(sampler="ddpm").sampler["steps"] == 250
    assert pipeline.plan(sampler="ddpm", steps=7).sampler["steps"] == 7


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_a_sampler_that_was_renamed_is_found_by_the_message(pipeline, old, new):
    with pytest.raises(InputError, match=f"the sampler {old} is now called {new}"):
        pipeline.plan(sampler=old)
    assert new in group_options("sampler")


def test_a_shipped_name_means_the_shipped_sampler_and_any_other_the_models_own(pipeline, monkeypatch):
    own = {**pipeline.sampler, "steps": 3}
    monkeypatch.setattr(pipeline, "sampler", own)
    assert pipeline.plan(sampler="dpmpp_2m").sampler["steps"] == 20
    monkeypatch.setattr(pipeline, "sampler", {**own, "name": "mine"})
    assert pipeline.plan(sampler="mine").sampler["steps"] == 3


def test_a_sampler_can_come_from_a_file(pipeline, tmp_path):
    config = {**load_option("sampler", "unipc_2"), "name": "mine", "steps": 3}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
    own = pipeline.sample(2, label=3, sampler=str(tmp_path / "mine.yaml"))
    assert pixels(own) == pixels(pipeline.sample(2, label=3, sampler="unipc_2", steps=3))


@pytest.mark.parametrize("text", ["name: mine", "[", "- 1"])
def test_a_file_that_describes_no_sampler_is_explained(pipeline, tmp_path, text):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(InputError, match=r"mine\.yaml"):
        pipeline.sample(1, sampler=str(tmp_path / "mine.yaml"))


GRIDS, SAMPLERS = "multidiff.diffusion.grids", "multidiff.diffusion.samplers"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": 3}, "must be a text, got 3"),
        *[({"steps": steps}, "1 to 100000, got") for steps in ("4", 4.5, None, True, 10**14)],
        ({"method": 3}, "the _target_ of a Sampler, .* got 3"),
        ({"method": {"_target_": f"{SAMPLERS}.Heun", "_partial_": True}}, "a Sampler, without _partial_"),
        ({"method": {"_target_": "multidiff.diffusion.schedules.Cosine"}}, "Cosine' where a Sampler belongs"),
        (
            {"method": {"_target_": f"{SAMPLERS}.Ancestral", "method": 3}},
            "_partial_: true, got 3",
        ),
        ({"method": {"_target_": f"{SAMPLERS}.Restart", "steps": 1.5}}, "Restart: steps must be of type int, got 1.5"),
        (
            {"method": {"_target_": f"{SAMPLERS}.UniPC", "predictor_order": 2.5}},
            "predictor_order must be of type int, got 2.5",
        ),
        *[
            ({"method": {"_target_": f"{SAMPLERS}.{name}", "order": 2.5}}, f"{name}: order must be of type int")
            for name in ("DPMSolverMultistep", "DPMSolverSinglestep", "DEIS", "LMS")
        ],
        *[
            ({"method": {"_target_": f"{SAMPLERS}.{name}", key: 50}}, f"{key} must be at most 8, got 50")
            for name, key in (("DPMSolverMultistep", "order"), ("LMS", "order"), ("UniPC", "predictor_order"))
        ],
        ({"grid": 4}, "the _target_ of a Grid, .* got 4"),
        ({"grid": {"_target_": f"{GRIDS}.KarrasRho", "sigma_min": -1}}, "0 < sigma_min < sigma_max, got -1"),
        ({"grid": {"_target_": f"{GRIDS}.UniformLogSNR", "sigma_min": 90}}, "0 < sigma_min < sigma_max, got 90"),
        ({"grid": {"_target_": f"{GRIDS}.KarrasRho", "rho": 0}}, "rho must be above 0, got 0"),
        ({"grid": {"_target_": f"{GRIDS}.Trailing", "train_steps": 9.5}}, "train_steps must be of type int, got 9.5"),
        ({"grid": {"_target_": f"{GRIDS}.Interpolated", "log_snr": ["a", "b"]}}, r"log_snr\[0\] must be of type"),
        ({"grid": {"_target_": f"{GRIDS}.Interpolated", "log_snr": [float("nan")]}}, "increasing numbers"),
    ],
)
def test_a_sampler_that_cannot_be_is_explained(pipeline, tmp_path, wrong, message):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**load_option("sampler", "unipc_2"), **wrong}))
    with pytest.raises(InputError, match=message) as refusal:
        pipeline.sample(1, sampler=str(tmp_path / "mine.yaml"))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("rule", sorted(set(group_options("guidance_rule")) - {"cfg"}))
def test_rules_of_guidance_differ_and_agree_where_it_is_off(pipeline, rule):
    strong = {"label": 3, "steps": 5, "guidance": 4.0}
    assert pixels(pipeline.sample(2, **strong, guidance_rule=rule)) != pixels(pipeline.sample(2, **strong))
    assert pixels(pipeline.sample(2, **strong, guidance_rule="cfg")) == pixels(pipeline.sample(2, **strong))


def test_guidance_steers_away_from_the_negative_condition(pipeline):
    plans = [pipeline.plan(1, label=3, guidance=3.0, negative=negative) for negative in (None, "5")]
    x, t = torch.ones(1, *pipeline.shape), torch.tensor(0.5)
    three, five = (pipeline.model.condition([{"label": label}]) for label in ("3", "5"))
    plain, steered = (plan.denoiser(range(1))(x, t, three) for plan in plans)
    difference = pipeline.model.denoiser(x, t, five) - pipeline.model.denoiser(x, t, three.null())
    torch.testing.assert_close(plain - steered, 2 * difference)  # (1 - scale) (five - null)


def test_guidance_costs_only_where_it_acts(pipeline, monkeypatch):
    rows = []

    def cost(**request):
        plan = pipeline.plan(2, steps=3, **request)
        rows.clear()
        with pipeline.model.denoiser.register_forward_pre_hook(lambda _, arguments: rows.append(len(arguments[0]))):
            plan.generate()
        return sum(rows)

    unguided = cost()
    monkeypatch.setattr(pipeline, "guidance", 3.0)  # the model's own, not requested
    assert cost() == unguided
    assert cost(guidance=1.0, label=3) == unguided
    assert cost(label=3) == cost(negative="5") == cost(label=3, guidance=2.0) == 2 * unguided


def test_guidance_can_be_any_function_of_the_denoiser(pipeline):
    def weaker(denoiser):
        return ClassifierFreeGuidance(denoiser, 0.5)

    given = pipeline.sample(2, label=3, steps=5, guidance=weaker)
    assert pixels(given) == pixels(pipeline.sample(2, label=3, steps=5, guidance=0.5))


def test_the_dtype_of_the_weights_is_the_dtype_of_the_samples(pipeline):
    single = pipeline.plan(1, label=3).x0(range(1))
    pipeline.model.double()
    double = pipeline.plan(1, label=3).x0(range(1))
    pipeline.model.float()
    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
    torch.testing.assert_close(single.double(), double, rtol=0, atol=1e-4)


def test_numbers_and_labels_of_numpy_are_those_of_python(pipeline):
    two, labels = np.int64(2), np.array(["1", "2"])
    plan = pipeline.plan(two, label=labels, steps=two, batch_size=two, fields={"height": np.int64(8)})
    assert plan.to_json() == pipeline.plan(2, label=["1", "2"], steps=2, batch_size=2, fields={"height": 8}).to_json()
    varied = Vary(Image.new("L", (8, 8)), np.float32(0.5))
    assert json.loads(pipeline.plan(1, edit=varied).to_json())["edit"]["strength"] == 0.5


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"n": 0}, "number of samples must be an integer of at least 1, got 0"),
        ({"n": 1.5}, "number of samples must be an integer of at least 1, got 1.5"),
        ({"n": "2"}, "number of samples must be an integer of at least 1, got '2'"),
        ({"prompts": 3}, "prompts is a list of texts, at least 1, got 3"),
        ({"label": 11}, "'11'; it knows: 0, 1, 2"),
        ({"label": []}, "empty"),
        (
            {"label": [1, 2, 3], "n": 2},
            "3 values of label need as many samples, and n is 2: raise -n to 3 or more, or give",
        ),
        ({"fields": {"label": [1, 2]}}, "2 values of label need as many samples, and n is 1"),
        ({"prompt": "a cat"}, "not trained with a prompt: it takes label"),
        ({"sampler": "fast"}, "no sampler is called 'fast'"),
        ({"steps": 0}, "steps must be an integer from 1 to 100000, got 0"),
        ({"steps": 4.5}, "steps must be an integer from 1 to 100000, got 4.5"),
        ({"seed": 2**64}, "64 bits, from -9223372036854775808 to 18446744073709551615, not 18446744073709551616"),
        ({"seed": 0.5}, "64 bits"),
        ({"guidance": -1.0, "label": 3}, "guidance scale"),
        ({"guidance": "2", "label": 3}, "the guidance scale is a number, not '2'"),
        ({"guidance": True, "label": 3}, "the guidance scale is a number, not True"),
        ({"guidance": 3.0, "label": ""}, "guidance needs a condition to follow"),
        ({"negative": ["3"], "label": 3, "guidance": 2.0}, r"one label, one prompt or a mapping .*, not \['3'\]"),
        ({"guidance": 3.0}, "guidance needs a condition to follow"),
        ({"guidance_rule": "x", "guidance": 2.0}, "no guidance_rule is called 'x'; there are: apg, cfg"),
        ({"guidance_rule": "apg", "guidance": 1.0}, "guidance 1 is off"),
        ({"negative": "3", "guidance": 1.0}, "guidance 1 is off"),
        ({"negative": "x", "guidance": 2.0}, "'x'; it knows: 0, 1, 2"),
        ({"negative": "3", "guidance": ClassifierFreeGuidance}, "needs a number as guidance scale"),
        (
            {"guidance_field": "caption", "guidance": 2.0, "label": 3},
            "'caption': this model has no such condition; it has label",
        ),
        (
            {"fields": {"seconds": 3}},
            "seconds: neither .* nor a setting of the modality image, which has: height, width",
        ),
        ({"label": 3, "fields": {"label": 4}}, "label is given twice"),
        (
            {"label": 3, "guidance": 2.0, "negative": {"lable": "4"}},
            "no negative lable is possible: this model takes label",
        ),
        ({"batch_size": 0}, "batch size must be an integer of at least 1, got 0"),
        ({"batch_size": 2.5}, "batch size must be an integer of at least 1, got 2.5"),
        (
            {"init": "cat.png", "strength": 0.5},
            r"class Image is needed, such as modality.read\(PATH\) returns, got str",
        ),
        ({"init": np.zeros((8, 8)), "strength": 0.5}, "class Image is needed, .* got ndarray"),
        ({"init": Image.new("L", (8, 8)), "strength": "x"}, "strength is a number, got 'x'"),
        ({"init": Image.new("L", (8, 8)), "strength": 0.0}, "strength must be above 0"),
        ({"init": Image.new("L", (8, 8)), "strength": 1.1}, "strength must be above 0"),
        ({"init": Image.new("L", (9, 8)), "strength": 0.5}, r"shape \(1, 8, 8\), and the one given is \(1, 8, 9\)"),
        ({"init": Image.new("L", (8, 8))}, "come together"),
        ({"strength": 0.5}, "come together"),
    ],
)
def test_a_wrong_request_is_explained(pipeline, request_, message):
    with pytest.raises(InputError, match=message):
        pipeline.sample(**request_)


def test_settings_that_would_do_nothing_are_refused(pipeline, monkeypatch):
    monkeypatch.setattr(pipeline, "guidance", 3.0)
    for setting in ({"guidance_rule": "apg"}, {"guidance_field": "label"}):
        with pytest.raises(InputError, match="guidance needs a condition to follow"):
            pipeline.plan(1, **setting)
    with pytest.raises(InputError, match="leave seed out"):
        pipeline.interpolate(1, 2, seed=5)


def test_a_negative_text_is_of_the_field_that_guidance_follows():
    assert negative_of(("label", "caption"), "4", None) == {"caption": "4"}
    assert negative_of(("label", "caption"), "4", "label") == {"label": "4"}


def test_numbers_of_numpy_are_numbers(pipeline):
    plan = pipeline.plan(2, label=np.int64(3), seed=np.int64(5), steps=2, guidance=np.float32(1))
    record = json.loads(plan.to_json())
    assert (record["samples"], record["guidance"]["scale"]) == ([{"label": 3}], 1)
    assert pixels(plan.stream()) == pixels(pipeline.sample(2, label=3, seed=5, steps=2, guidance=1))


def test_samples_that_are_not_finite_are_named(pipeline, caplog):
    images = pipeline.sample(2, label=3, guidance=1e38, steps=3)
    assert len(images) == 2
    assert "samples 0, 1 have non-finite values: lower the guidance" in caplog.text
