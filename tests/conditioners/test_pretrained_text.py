"""Frozen encoders from a folder: computed once, never saved, and refused if they are others than in training."""

import copy
import json

import numpy as np
import pytest
import torch
import transformers

from multidiff.conditioners import PretrainedTextConditioner
from multidiff.conditioners.encodings import Encodings
from multidiff.errors import InputError
from tests.conditioners.encoders import ENCODERS

CAPTIONS = ["a red chair", "a tall ball"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("encoders")
    return {name: make(root / name) for name, make in ENCODERS.items()}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MULTIDIFF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(params=ENCODERS)
def folder(folders, request):
    return folders[request.param]


def made(folder, **settings):
    torch.manual_seed(0)
    learned = PretrainedTextConditioner.learned({"path": str(folder)}, "caption", CAPTIONS)
    return PretrainedTextConditioner("caption", **learned, **{"dim": 8, **settings}).eval()


def hidden(folder, kind, texts, layer):
    """The hidden states, of all texts in one padded batch, by transformers alone."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    network = getattr(transformers, kind).from_pretrained(folder).eval()
    batch = tokenizer(texts, return_tensors="pt", padding=True)
    with torch.no_grad():
        inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
        output = network(**inputs, output_hidden_states=True)
    return output.last_hidden_state if layer == -1 else output.hidden_states[layer], batch["attention_mask"].bool()


@pytest.mark.parametrize("layer", [-1, -2, 0])
@pytest.mark.parametrize(("name", "kind"), [("bert", "BertModel"), ("clip", "CLIPTextModel"), ("t5", "T5EncoderModel")])
def test_states_are_those_of_transformers(folders, name, kind, layer):
    texts = ["a red chair", "a puppy"]
    conditioner = made(folders[name], layer=layer)
    cond = conditioner(texts)
    states, mask = hidden(folders[name], kind, texts, layer)
    assert torch.equal(cond.mask, mask)
    expected = conditioner.project(conditioner.norm(states))
    torch.testing.assert_close(cond.tokens[mask], expected[mask], atol=1e-4, rtol=1e-4)


def test_each_distinct_text_goes_through_the_encoder_once_for_all_time(folder, monkeypatch):
    conditioner, calls = made(folder), []
    conditioner.encoder.module.register_forward_pre_hook(lambda *_: calls.append(1))
    first = conditioner(["a red chair", "a ball", "a red chair", None])
    assert len(calls) == 2
    assert torch.equal(conditioner(["a ball"]).tokens[0], first.tokens[1, : conditioner(["a ball"]).mask.sum()])
    again = made(folder)
    monkeypatch.setattr(again, "_encode", None)
    again.load_state_dict(conditioner.state_dict())
    assert torch.equal(again(["a red chair", "a ball", None]).vector, first.vector[[0, 1, 3]])


def test_the_encoder_is_neither_trained_nor_saved_nor_copied(folder):
    conditioner = made(folder)
    names = {"norm.weight", "norm.bias", "project.weight", "project.bias"}
    assert set(conditioner.state_dict()) == {name for name, _ in conditioner.named_parameters()} == names
    assert copy.deepcopy(conditioner).encoder.module is conditioner.encoder.module


def test_null_weights_and_pooling(folder):
    for pooling, place in (("mean", None), ("first", 0), ("last", -1)):
        conditioner = made(folder, pooling=pooling)
        cond = conditioner(["a red chair", "", None])
        assert not cond.mask[1:].any()
        assert not cond.vector[1:].any()
        expected = cond.tokens[0].mean(dim=0) if place is None else cond.tokens[0, place]
        torch.testing.assert_close(cond.vector[0], expected)
    plain, one, strong = (conditioner.prompted([p]) for p in ("a red chair", "a (red:1) chair", "a (red:2) chair"))
    assert torch.equal(plain.tokens, one.tokens)
    ratio = strong.tokens[0].norm(dim=1) / plain.tokens[0].norm(dim=1)
    inside = (ratio - 2).abs() < 1e-5
    assert inside.any()
    torch.testing.assert_close(ratio[~inside], torch.ones_like(ratio[~inside]))


def test_long_texts_are_cut_and_keep_their_ends(folder):
    conditioner, whole = made(folder, length=6), made(folder, length=64)
    text = "a tall red ball a blue chair"
    (cut,), (uncut,) = conditioner.pieces([text]), whole.pieces([text])
    assert (len(cut.ids), cut.cut, cut.ids[-1]) == (6, True, uncut.ids[-1])
    (*_, remark) = conditioner.remarks([text])
    assert remark == f"the prompt is too long for this model; cut off: {text[cut.end :].strip()!r} of {text!r}"


def test_an_encoder_never_reads_more_than_it_has_positions_for(folders):
    for name in ("bert", "clip"):
        assert made(folders[name], length=1000)(["a " * 100]).mask.sum() == 16
    assert made(folders["t5"], length=1000)([" ".join("a" * 100)]).mask.sum() == 101


@pytest.mark.parametrize("text", ["日本", "\0\ud800", "🪑", ")(", "é"])
def test_any_string_is_encoded(folder, text):
    assert made(folder)([text]).tokens.isfinite().all()


def test_another_encoder_than_in_training_is_refused(folders, tmp_path):
    learned = PretrainedTextConditioner.learned({"path": str(folders["bert"])}, "caption", CAPTIONS)
    with pytest.raises(InputError, match=r"has the hash .* and the model was trained with"):
        PretrainedTextConditioner("caption", **{**learned, "path": str(folders["t5"])}, dim=8)


def test_an_encoder_in_the_cache_is_found_by_its_name(folders, cache):
    learned = PretrainedTextConditioner.learned({"path": str(folders["bert"])}, "caption", CAPTIONS)
    (cache / "weights").mkdir(parents=True)
    (cache / "weights" / "bert").symlink_to(folders["bert"])
    PretrainedTextConditioner("caption", **{**learned, "path": "/elsewhere/bert"}, dim=8)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"pooling": "max"}, "mean, first, last"), ({"layer": 3}, "from -3 to 2"), ({"length": 0}, "length")],
)
def test_impossible_settings_are_refused(folders, settings, message):
    with pytest.raises(InputError, match=message):
        made(folders["bert"], **settings)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "there is no text encoder at"),
        (lambda folder: (folder / "config.json").write_text("{"), "no text encoder that transformers reads"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no text encoder that transformers reads"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 99), "no text encoder that transformers"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "no fast tokenizer"),
    ],
)
def test_damaged_folders_are_refused_in_one_line(tmp_path, damage, message):
    folder = ENCODERS["bert"](tmp_path / "damaged")
    damage(folder)
    with pytest.raises(InputError, match=message) as refusal:
        made(folder)
    assert "\n" not in str(refusal.value)


def test_code_in_a_folder_does_not_run(tmp_path):
    folder = ENCODERS["bert"](tmp_path / "code")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config", "AutoModel": "mine.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(InputError, match="no text encoder"):
        made(folder)
    assert not (tmp_path / "ran").exists()


def test_a_damaged_cache_is_named(tmp_path):
    encodings = Encodings(tmp_path, "x")
    encodings.path.write_bytes(b"not a database" * 100)
    with pytest.raises(InputError, match="delete that file"):
        encodings.get([(1, 2)], lambda ids: np.zeros((2, 3), np.float32))
