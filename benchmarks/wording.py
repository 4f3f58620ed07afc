"""Whether the seed keeps a sample while the wording changes: distances between samples of one model.

Of each prompt, a caption, one adjective is replaced. Printed are the mean distance between the samples of both prompts
at one seed, that between samples of the same prompt at two seeds, and their ratio, which should be below 1. The
distance is the root mean square of the difference: of pixels, of levels in dB, or of the shares of points in cells.

    python benchmarks/wording.py RUN --prompts 64
"""

import argparse
import json
import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import drums_prompts
import furniture_prompts
import numpy as np
import torch

import multidiff
from modalities.image.scenes.captions import captions
from modalities.image.scenes.objects import COLOURS
from modalities.image.scenes.scene import scene

OPPOSITES = (
    *(("short", "long"), ("low", "high"), ("dark", "bright"), ("soft", "hard"), ("small", "big"), ("little", "large")),
    *(
        ("thin", "thick"),
        ("narrow", "wide"),
        ("slim", "sturdy"),
        ("low", "tall"),
        ("stout", "slender"),
        ("round", "square"),
    ),
)
"""Adjectives that replace each other; colours are replaced by the next of `COLOURS`."""

PROMPT_SEED = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a run or model directory of scenes, drums or furniture from text")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--guidance", type=float, help="by default the model's own")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    pipeline = multidiff.load(options.model)
    source, features = MODALITIES[pipeline.modality.name]
    pairs = list(islice(((text, other) for text in source() if (other := changed(text))), options.prompts))
    runs = [
        pipeline.sample(
            len(pairs),
            prompt=list(prompts),
            seed=options.seed + shift,
            steps=options.steps,
            guidance=options.guidance,
            batch_size=options.batch_size,
        )
        for prompts, shift in zip((*zip(*pairs, strict=True), [text for text, _ in pairs]), (0, 0, 1), strict=True)
    ]
    one, other, reseeded = ([features(artifact) for artifact in run] for run in runs)
    wording, seeds = distances(one, other), distances(one, reseeded)
    figures = {
        "prompts": len(pairs),
        "steps": options.steps,
        "another wording": float(wording.mean()),
        "another seed": float(seeds.mean()),
        "ratio": float(wording.mean() / seeds.mean()),
    }
    for name, values in (("another wording, one seed", wording), ("one wording, another seed", seeds)):
        print(f"{name}: {values.mean():.4g} ± {values.std() / len(values) ** 0.5:.2g}")
    print(f"ratio {figures['ratio']:.2f}; {len(pairs)} pairs such as {pairs[0]}, {options.steps} steps")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def changed(prompt: str) -> str | None:
    """The prompt with its first adjective that has another one replaced; None if there is none."""
    colours = list(COLOURS)
    others = dict(zip(colours, [*colours[1:], colours[0]], strict=True))
    for pair in OPPOSITES:
        others = {**dict((pair, pair[::-1])), **others}
    found = re.search(rf"\b({'|'.join(others)})\b", prompt)
    if not found:
        return None
    text = f"{prompt[: found.start()]}{others[found[1]]}{prompt[found.end() :]}"
    return re.sub(r"\ban?(?= ([a-z]))", lambda article: "an" if article[1] in "aeiou" else "a", text)


def distances(one: list[np.ndarray], other: list[np.ndarray]) -> np.ndarray:
    """The root mean square of the difference of each pair, ``(N,)``."""
    return np.array([np.sqrt(np.mean((a - b) ** 2)) for a, b in zip(one, other, strict=True)])


def scenes() -> Iterator[str]:
    """Captions of scenes."""
    return (captions(scene(PROMPT_SEED, i, "train"), Random(i))[0] for i in range(100_000))


MODALITIES: dict[str, tuple[Callable[[], Iterator[str]], Callable[[Any], np.ndarray]]] = {
    "image": (scenes, lambda image: np.asarray(image.convert("RGB"), float) / 255),
    "audio": (lambda: prompts_of(drums_prompts), drums_prompts.features),
    "shape": (lambda: prompts_of(furniture_prompts), furniture_prompts.features),
}


def prompts_of(benchmark: Any) -> Iterator[str]:
    """Captions of real samples."""
    return (case.prompt for case in benchmark.real(400, PROMPT_SEED)[1])


if __name__ == "__main__":
    main()
