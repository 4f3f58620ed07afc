"""How often a judge hears the drum that was asked for.

The judge is the encoder of `multidiff evaluate`, here trained on real drums of another seed than the model's; it shares
no weight and no representation with the model. Its accuracy on drums that neither ever heard is printed beside.

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
from modalities.audio.frontends import Waveform
from modalities.audio.modality import AudioModality
from multidiff.evaluation.classification import accuracy
from multidiff.evaluation.features import Seen
from multidiff.evaluation.reference import Reference

JUDGE_SEED = 1000
"""Of the drums that the judge learns from and is tested on; the model's own are of seed 0."""

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
    parser.add_argument("--judge-steps", type=int, default=300, help="of the judge's training, 64 drums each")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    modality = AudioModality(16000, Waveform())
    reference = Reference(modality, Drums(modality, COUNT, seed=JUDGE_SEED), HELD_OUT, JUDGE_SEED)
    judge = Encoder(options.judge_steps).extractor(reference, torch.device("cpu"))
    names = judge.class_names

    asked = [names[i % len(names)] for i in range(options.samples)]
    pipeline = multidiff.load(options.model)
    began = time.perf_counter()
    clips = pipeline.sample(
        options.samples,
        label=asked,
        steps=options.steps,
        guidance=options.guidance,
        seed=options.seed,
        batch_size=options.batch_size,
    )
    seconds = time.perf_counter() - began
    read = Seen.joined([judge.look(clips[i : i + 64]) for i in range(0, len(clips), 64)]).classes
    wanted = torch.arange(len(clips)) % len(names)
    assert read is not None
    by_drum = {name: accuracy(read[i :: len(names)], wanted[i :: len(names)]) for i, name in enumerate(names)}
    figures = {
        "samples": options.samples,
        "steps": options.steps,
        "heard_as_asked": accuracy(read, wanted),
        "by_drum": by_drum,
        "real_held_out": judge.facts["accuracy on held-out data"],
        "real_held_out_count": len(reference.held_out),
        "seconds_of_audio_a_second": sum(clip.seconds for clip in clips) / seconds,
        "batch_size": options.batch_size,
        "threads": options.threads,
    }
    print(f"judge on {len(reference.held_out)} real drums that it never heard: {figures['real_held_out']:.1%} right")
    print(f"judge on {options.samples} samples, {options.steps} steps: hears {figures['heard_as_asked']:.1%} as asked")
    print("by drum: " + "  ".join(f"{name} {score:.0%}" for name, score in by_drum.items()))
    print(f"{figures['seconds_of_audio_a_second']:.1f} s of audio a second, in batches of {options.batch_size}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
