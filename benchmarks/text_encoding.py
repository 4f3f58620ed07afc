"""What share of a sampling call the text encoder takes, and how often it encodes a distinct prompt.

The network is that of experiment=image/scenes_text with fresh weights: time does not depend on them. Each sample has a
prompt of its own, which is the worst case. The frozen encoder of text_pretrained is a small BERT, and its cache is
empty.

    python benchmarks/text_encoding.py --samples 16 --steps 20
"""

import argparse
import os
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from modalities.image.modality import ImageModality
from modalities.image.scenes.captions import captions
from modalities.image.scenes.scene import scene
from multidiff.configuration import compose, resolved
from multidiff.model import build_model, informed
from multidiff.sampling.pipeline import Pipeline

SHAPE = (3, 32, 32)
TRAINED = 2000
"""Captions from which vocabularies are made."""

Calls = list[tuple[tuple[Any, ...], float]]
"""The prompts of each call of the encoder, and its seconds."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--versions", type=int, default=2, help="samples of each prompt")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3, help="of which the median counts")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    texts = [captions(scene(0, i, "train"), Random(i))[0] for i in range(TRAINED)]
    prompts = list(dict.fromkeys(texts))[: max(1, options.samples // options.versions)]
    for conditioning in ("text", "text_static", "text_pretrained"):
        shares, most = [], 0
        for _ in range(options.rounds + 1):
            with tempfile.TemporaryDirectory() as folder:
                os.environ["MULTIDIFF_CACHE"] = folder
                pipeline = pipeline_with(conditioning, texts, Path(folder))
                calls = recorded(pipeline.model.conditioner)
                plan = pipeline.plan(
                    options.versions, prompts=prompts, steps=options.steps, guidance=options.guidance, seed=0
                )
                began = time.perf_counter()
                list(plan.stream())
                whole = time.perf_counter() - began
            shares.append(sum(seconds for _, seconds in calls) / whole)
            most = max(Counter(values for values, _ in calls).values())
        share, spread = statistics.median(shares[1:]), max(shares[1:]) - min(shares[1:])
        print(
            f"{conditioning}: {share:.1%} of {whole:.1f} s (range {spread:.1%}); {len(calls)} calls of the encoder for "
            f"{len(prompts)} prompts of {options.versions} samples each; a prompt is encoded {most} times"
        )


def pipeline_with(conditioning: str, texts: list[str], folder: Path) -> Pipeline:
    """A pipeline with fresh weights."""
    overrides = [f"conditioning={conditioning}"]
    if conditioning == "text_pretrained":
        overrides.append(f"conditioning.caption.path={bert(texts, folder / 'bert')}")
    config = resolved(compose(["experiment=image/scenes_text", *overrides]))
    config |= informed(config, {"caption": texts}, [torch.zeros(SHAPE)])
    return Pipeline(build_model(config, SHAPE), ImageModality(3), SHAPE, config["sampler"])


def recorded(conditioner: Any) -> Calls:
    """What the encoder of ``conditioner`` is called with from now on, and how long it takes."""
    (part,) = conditioner
    encode, calls = part.prompted, []

    def timed(values: Any) -> Any:
        began = time.perf_counter()
        result = encode(values)
        calls.append((tuple(values), time.perf_counter() - began))
        return result

    part.prompted = timed
    return calls


def bert(texts: list[str], folder: Path) -> Path:
    """A folder with an encoder of 6 layers and 384 channels, the size of MiniLM, and its tokenizer."""
    words = sorted({word for text in texts for word in text.replace(",", " ,").split()})
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(folder)
    sizes = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
    BertModel(BertConfig(vocab_size=len(vocabulary), **sizes)).save_pretrained(folder)
    return folder


if __name__ == "__main__":
    main()
