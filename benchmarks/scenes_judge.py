"""How often the samples of a model show what their prompts ask for: objects, colours, sizes, counts and relations.

Prompts are captions of new scenes: of trained combinations (the split "train" of another seed), and of combinations
that training never shows (the split "test"). `scene_reader`, which matches drawings, reads the samples. Its accuracy
on real scenes is printed beside.

    python benchmarks/scenes_judge.py RUN --prompts 250 --seeds 3 --guidance 1 2
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image
from scene_reader import Reader, score

import multidiff
from modalities.image.modality import ImageModality
from modalities.image.scenes.data import EmojiScenes
from modalities.image.scenes.scene import Scene, Split

PROMPT_SEED = 1000
"""Of the scenes whose captions are the prompts; those of training have seed 0."""

ATTRIBUTES = ("object", "colour", "size", "count", "relation", "background")
NAMES: dict[Split, str] = {"train": "trained combinations", "test": "never trained"}

Scores = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="a run or model directory; without one, only real scenes are read")
    parser.add_argument("--prompts", type=int, default=250, help="of each of the two kinds")
    parser.add_argument("--seeds", type=int, default=3, help="of sampling")
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0, 2.0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--size", type=int, default=32, help="pixels of the model's pictures")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    sets = {split: EmojiScenes(ImageModality(3), options.size, options.prompts, split, PROMPT_SEED) for split in NAMES}
    reader = Reader(sets["train"].painter)
    began = time.perf_counter()
    rows = []
    for split, data in sets.items():
        pictures = [data.painter(scene) for scene in data.scenes]
        rows.append({"prompts": split, "source": "real", "runs": [accuracies(reader, data.scenes, pictures)]})
    seconds = (time.perf_counter() - began) / (2 * options.prompts)
    if options.model:
        rows += sampled(options, reader, sets)
    for row in rows:
        print(shown(row))
    print(f"{options.prompts} prompts of each kind, {options.steps} steps; reading a picture takes {seconds:.2f} s")
    if options.json:
        figures = {"prompts": options.prompts, "steps": options.steps, "seeds": options.seeds, "rows": rows}
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def sampled(options: argparse.Namespace, reader: Reader, sets: Mapping[Split, EmojiScenes]) -> list[dict]:
    """A row for each kind of prompts and each guidance, with the accuracies of each seed."""
    pipeline = multidiff.load(options.model)
    rows = []
    for guidance in options.guidance:
        for split, data in sets.items():
            runs = []
            for seed in range(options.seeds):
                pictures = pipeline.sample(
                    options.prompts,
                    prompt=[captions[0] for captions in data.fields["caption"]],
                    steps=options.steps,
                    guidance=guidance,
                    seed=seed,
                    batch_size=options.batch_size,
                )
                runs.append(accuracies(reader, data.scenes, pictures))
            rows.append({"prompts": split, "source": f"guidance {guidance:g}", "runs": runs})
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
