"""How often an independent judge hears the drum that was asked for.

The judge is a small network on log-mel spectrograms, trained on real drums alone, which the model shares no weight and
no representation with. Its accuracy on drums that neither ever heard is printed beside.

    python benchmarks/audio_judge.py quickstart/drums --samples 400 --steps 20
"""

import argparse
import json
import time
from pathlib import Path

import torch

import multidiff
from modalities.audio.data import Drums
from modalities.audio.features import clips_of, trained_classifier
from modalities.audio.frontends import Waveform
from modalities.audio.modality import AudioModality

JUDGE_SEED, HELD_OUT_SEED = 1000, 2000
"""Of the drums that the judge learns from and of those that test it; the model's own are of seed 0."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a run or model directory of experiment=audio/drums")
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, help="by default the model's own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    modality = AudioModality(16000, Waveform())
    learned, unheard = Drums(modality, 1600, seed=JUDGE_SEED), Drums(modality, 400, seed=HELD_OUT_SEED)
    judge = trained_classifier(*clips_of(learned, modality, range(len(learned))))
    real = judge.accuracy(*clips_of(unheard, modality, range(len(unheard))))

    names = learned.label_names
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
    by_drum = {name: judge.accuracy(clips[i :: len(names)], asked[i :: len(names)]) for i, name in enumerate(names)}
    figures = {
        "samples": options.samples,
        "steps": options.steps,
        "heard_as_asked": judge.accuracy(clips, asked),
        "by_drum": by_drum,
        "real_held_out": real,
        "real_held_out_count": len(unheard),
        "seconds_of_audio_a_second": sum(clip.seconds for clip in clips) / seconds,
        "batch_size": options.batch_size,
        "threads": options.threads,
    }
    print(f"judge on {len(unheard)} real drums that it never heard: {real:.1%} right")
    print(f"judge on {options.samples} samples, {options.steps} steps: hears {figures['heard_as_asked']:.1%} as asked")
    print("by drum: " + "  ".join(f"{name} {score:.0%}" for name, score in by_drum.items()))
    print(f"{figures['seconds_of_audio_a_second']:.1f} s of audio a second, in batches of {options.batch_size}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
