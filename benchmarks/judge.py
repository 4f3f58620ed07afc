"""How often an independent judge reads the digit that was asked for.

The judge is scikit-learn's SVC (gamma 0.001), trained on the real digits that the model was trained on, and never on
a sample. Its accuracy on the digits that neither ever saw is printed beside: no model should be expected to pass it.

    python benchmarks/judge.py quickstart/digits --samples 500 --steps 20
"""

import argparse
import json
from pathlib import Path

import numpy as np
from sklearn.svm import SVC

import multidiff
from modalities.image.data import Digits
from modalities.image.modality import ImageModality
from multidiff.training.datamodule import DataModule


def pixels(dataset: Digits, indices: list[int]) -> np.ndarray:
    """The digits as 64 gray values from 0 to 16, as scikit-learn has them."""
    images = [dataset.x0(i, np.random.default_rng(0)).numpy().ravel() for i in indices]
    return (np.stack(images) + 1) * 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a run or model directory, trained with seed 0 and the default holdout")
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, help="by default the model's own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()

    digits = Digits(ImageModality(channels=1))
    split = DataModule(digits, batch_size=1, workers=0, holdout=0.1, seed=0)
    labels = np.array(digits.labels)
    judge = SVC(gamma=0.001).fit(pixels(digits, split.training), labels[split.training])
    real = judge.score(pixels(digits, split.validation), labels[split.validation])

    asked = [i % 10 for i in range(options.samples)]
    images = multidiff.load(options.model).sample(
        options.samples, label=asked, steps=options.steps, guidance=options.guidance, seed=options.seed
    )
    generated = np.stack([np.asarray(image, dtype=float).ravel() / 255 * 16 for image in images])
    read = judge.predict(generated)
    figures = {
        "samples": options.samples,
        "steps": options.steps,
        "read_as_asked": float((read == asked).mean()),
        "real_held_out": float(real),
        "real_held_out_count": len(split.validation),
        "by_digit": {str(d): float((read == asked)[np.array(asked) == d].mean()) for d in range(10)},
    }
    print(f"judge on {len(split.validation)} real digits that it never saw: {real:.1%} right")
    print(f"judge on {options.samples} samples, {options.steps} steps: reads {figures['read_as_asked']:.1%} as asked")
    print("by digit: " + "  ".join(f"{digit} {score:.0%}" for digit, score in figures["by_digit"].items()))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
