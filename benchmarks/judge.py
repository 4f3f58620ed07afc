"""How often an independent classifier recognises the requested digit in the samples of a model.

The classifier is scikit-learn's SVC (gamma 0.001), trained on the real digits that the model was trained on. Its
accuracy on held-out real digits, the best that a model can be expected to reach, is printed beside.

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
from multidiff.data.split import split


def pixels(dataset: Digits, indices: list[int]) -> np.ndarray:
    """The digits as 64 gray values from 0 to 16, as in scikit-learn."""
    images = [dataset.data(i, np.random.default_rng(0)).numpy().ravel() for i in indices]
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
    training, held_out = split(len(digits), 0.1, 0)
    assert digits.labels is not None
    labels = digits.labels.indices
    judge = SVC(gamma=0.001).fit(pixels(digits, training), labels[training])
    real = judge.score(pixels(digits, held_out), labels[held_out])

    requested = [i % 10 for i in range(options.samples)]
    images = multidiff.load(options.model).sample(
        options.samples, label=requested, steps=options.steps, guidance=options.guidance, seed=options.seed
    )
    generated = np.stack([np.asarray(image, dtype=float).ravel() / 255 * 16 for image in images])
    right = judge.predict(generated) == requested
    figures = {
        "samples": options.samples,
        "steps": options.steps,
        "classified_as_requested": float(right.mean()),
        "real_held_out": float(real),
        "real_held_out_count": len(held_out),
        "by_digit": {str(d): float(right[np.array(requested) == d].mean()) for d in range(10)},
    }
    print(f"{len(held_out)} held-out real digits: {real:.1%} classified correctly")
    print(f"{options.samples} samples, {options.steps} steps: {right.mean():.1%} classified as requested")
    print("by digit: " + "  ".join(f"{digit} {score:.0%}" for digit, score in figures["by_digit"].items()))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
