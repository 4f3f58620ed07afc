"""How often a classifier recognises the requested drum in the samples of a model.

The classifier is the encoder of `multidiff evaluate`, trained here on real drums of another seed than the model's. It
shares no weights and no representation with the model. Its accuracy on held-out real drums is printed beside.

    python benchmarks/audio_judge.py quickstart/drums --samples 400 --steps 20
"""

import argparse
import json
import time
from pathlib import Path

import torch

import multidiff
from modalities.audio.data import Drums
from modalities.audio.features import Encoder
from modalities.audio.modality import AudioModality
from multidiff.evaluation.classification import accuracy
from multidiff.evaluation.features import FeatureBatch
from multidiff.evaluation.reference import Reference

JUDGE_SEED = 1000
"""Of the drums that the classifier is trained and tested on; those of the model have seed 0."""

COUNT, HELD_OUT = 2000, 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a run or model directory of experiment=audio/drums")
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, help="by default the model's own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--judge-steps", type=int, default=300, help="training steps of the classifier, 64 drums each")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    modality = AudioModality(16000)
    reference = Reference(modality, Drums(modality, COUNT, seed=JUDGE_SEED), HELD_OUT, JUDGE_SEED)
    judge = Encoder(options.judge_steps).extractor(reference, torch.device("cpu"))
    names = judge.class_names

    requested = [names[i % len(names)] for i in range(options.samples)]
    pipeline = multidiff.load(options.model)
    began = time.perf_counter()
    clips = pipeline.sample(
        options.samples,
        label=requested,
        steps=options.steps,
        guidance=options.guidance,
        seed=options.seed,
        batch_size=options.batch_size,
    )
    seconds = time.perf_counter() - began
    parts = [judge.extract(clips[i : i + 64]) for i in range(0, len(clips), 64)]
    predicted = FeatureBatch.joined(parts).classes
    wanted = torch.arange(len(clips)) % len(names)
    assert predicted is not None
    by_drum = {name: accuracy(predicted[i :: len(names)], wanted[i :: len(names)]) for i, name in enumerate(names)}
    figures = {
        "samples": options.samples,
        "steps": options.steps,
        "classified_as_requested": accuracy(predicted, wanted),
        "by_drum": by_drum,
        "real_held_out": judge.facts["accuracy on held-out data"],
        "real_held_out_count": len(reference.held_out),
        "seconds_of_audio_a_second": sum(clip.seconds for clip in clips) / seconds,
        "batch_size": options.batch_size,
        "threads": options.threads,
    }
    right = figures["classified_as_requested"]
    print(f"{len(reference.held_out)} held-out real drums: {figures['real_held_out']:.1%} classified correctly")
    print(f"{options.samples} samples, {options.steps} steps: {right:.1%} classified as requested")
    print("by drum: " + "  ".join(f"{name} {score:.0%}" for name, score in by_drum.items()))
    print(f"{figures['seconds_of_audio_a_second']:.1f} s of audio a second, in batches of {options.batch_size}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
