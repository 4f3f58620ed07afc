"""How often the samples of a model show what their prompts ask for: objects, colours, sizes, counts and relations.

Prompts are captions of new scenes: of trained combinations (the split "train" of another seed), and of combinations
that training never shows (the split "test"). `scene_reader`, which matches drawings, reads the samples. Its accuracy
on real scenes is printed beside. With --synonyms, one noun or adjective of each prompt that has a synonym in
`synonyms` is replaced by it, and the points that this costs are printed.

    python benchmarks/scenes_judge.py RUN --prompts 250 --seeds 3 --guidance 1 2 --synonyms
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from random import Random

import torch
from PIL import Image
from scene_reader import Reader, score
from synonyms import reworded

import multidiff
from modalities.image.modality import ImageModality
from modalities.image.scenes.data import EmojiScenes
from modalities.image.scenes.scene import LAYOUTS, Scene, Split

PROMPT_SEED = 1000
"""Of the scenes whose captions are the prompts; those of training have seed 0."""

ATTRIBUTES = ("object", "colour", "size", "count", "relation", "background")
NAMES: dict[Split, str] = {"train": "trained combinations", "test": "never trained"}

Scores = dict[str, float]

Asked = tuple[Sequence[Scene], Sequence[str]]
"""Scenes and their prompts."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="a run or model directory; without one, only real scenes are read")
    parser.add_argument("--prompts", type=int, default=250, help="of each of the two kinds")
    parser.add_argument("--seeds", type=int, default=3, help="of sampling")
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0, 2.0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--size", type=int, default=32, help="pixels of the model's pictures")
    parser.add_argument(
        "--layouts", nargs="+", default=LAYOUTS, choices=LAYOUTS, help="of the scenes that are asked for"
    )
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--synonyms", action="store_true", help="also measure prompts with words of no caption")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    sets = {
        split: EmojiScenes(ImageModality(3), options.size, options.prompts, split, PROMPT_SEED, options.layouts)
        for split in NAMES
    }
    reader = Reader(sets["train"].painter)
    began = time.perf_counter()
    rows = []
    for split, data in sets.items():
        pictures = [data.painter(scene) for scene in data.scenes]
        rows.append({"prompts": split, "source": "real", "runs": [accuracies(reader, data.scenes, pictures)]})
    seconds = (time.perf_counter() - began) / (2 * options.prompts)
    if options.model:
        asked: dict[Split, Asked] = {
            split: (data.scenes, [captions[0] for captions in data.fields["caption"]]) for split, data in sets.items()
        }
        rows += sampled(options, reader, asked)
        rows += synonymous(options, reader, asked) if options.synonyms else []
    for row in rows:
        print(shown(row))
    print(f"{options.prompts} prompts of each kind, {options.steps} steps; reading a picture takes {seconds:.2f} s")
    if options.json:
        figures = {"prompts": options.prompts, "steps": options.steps, "seeds": options.seeds, "rows": rows}
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def synonymous(options: argparse.Namespace, reader: Reader, asked: Mapping[Split, Asked]) -> list[dict]:
    """Rows of the prompts that have a synonym: as captions have them, with the synonym, and the points lost."""
    changed = {split: [reworded(text, Random(text)) for text in prompts] for split, (_, prompts) in asked.items()}
    kept: dict[str, dict[Split, Asked]] = {"as captions have them": {}, "with a synonym": {}}
    for split, (scenes, prompts) in asked.items():
        triples = [triple for triple in zip(scenes, prompts, changed[split], strict=True) if triple[2]]
        kept["as captions have them"][split] = [row[0] for row in triples], [row[1] for row in triples]
        kept["with a synonym"][split] = [row[0] for row in triples], [row[2] or "" for row in triples]
    written, other = (sampled(options, reader, asked, f", {wording}") for wording, asked in kept.items())
    lost = [
        {
            "prompts": before["prompts"],
            "source": f"{after['source']}, lost",
            "runs": [_lost(*runs) for runs in zip(before["runs"], after["runs"], strict=True)],
        }
        for before, after in zip(written, other, strict=True)
    ]
    return [row for rows in zip(written, other, lost, strict=True) for row in rows]


def _lost(before: Scores, after: Scores) -> Scores:
    return {name: before[name] - after[name] for name in before}


def sampled(options: argparse.Namespace, reader: Reader, asked: Mapping[Split, Asked], wording: str = "") -> list[dict]:
    """A row for each kind of prompts and each guidance, with the accuracies of each seed."""
    pipeline = multidiff.load(options.model)
    rows = []
    for guidance in options.guidance:
        for split, (scenes, prompts) in asked.items():
            runs = []
            for seed in range(options.seeds):
                pictures = pipeline.sample(
                    len(prompts),
                    prompt=prompts,
                    steps=options.steps,
                    guidance=guidance,
                    seed=seed,
                    batch_size=options.batch_size,
                )
                runs.append(accuracies(reader, scenes, pictures))
            rows.append({"prompts": split, "source": f"guidance {guidance:g}{wording}", "runs": runs})
    return rows


def accuracies(reader: Reader, scenes: Sequence[Scene], pictures: Iterable[Image.Image]) -> Scores:
    """The share of facts that are right, for each attribute, and of scenes in which all are."""
    right: dict[str, list[bool]] = {name: [] for name in (*ATTRIBUTES, "everything")}
    for scene, picture in zip(scenes, pictures, strict=True):
        facts = score(scene, reader(picture))
        for name, values in facts.items():
            right[name] += values
        right["everything"].append(all(all(values) for values in facts.values()))
    return {name: statistics.mean(values) for name, values in right.items() if values}


def shown(row: Mapping) -> str:
    """The row as a line, with the spread over seeds."""
    parts = []
    for name in row["runs"][0]:
        values = [run[name] for run in row["runs"]]
        spread = f" ± {statistics.stdev(values):.1%}" if len(values) > 1 else ""
        parts.append(f"{name} {statistics.mean(values):.1%}{spread}")
    return f"{row['source']}, {NAMES[row['prompts']]}: " + "  ".join(parts)


if __name__ == "__main__":
    main()
