"""What a data set holds, and what in it may spoil a training."""

import pytest
import soundfile

from modalities.audio.modality import AudioModality
from modalities.image.modality import ImageModality
from modalities.shape.modality import ShapeModality
from multidiff.data.dataset import drawn_rows
from multidiff.data.folder import Folder
from multidiff.data.survey import described, problems
from multidiff.sampling.for_few import for_few
from tests.data.pictures import folder, noise


def test_the_data_are_described(tmp_path):
    pictures = {f"{label}/{i}.png": noise(i) for label in ("cat", "dog") for i in range(3)}
    data = folder(tmp_path, pictures, [("cat/0.png", "a cat"), ("dog/1.png", "a dog"), ("dog/2.png", "a dog")])
    assert described(data) == [
        "6 samples of 3x16x16 from Folder",
        "label: 2 classes, cat, dog",
        "caption: 2 different, 3 without, such as 'a cat', 'a dog'",
    ]


def test_few_samples_single_classes_and_equal_captions_are_told(tmp_path):
    pictures = {f"{label}/{i}.png": noise(7 * i) for i, label in enumerate(("cat", "cat", "dog"))}
    data = folder(tmp_path, pictures, [(name, "a photo") for name in pictures])
    assert list(problems(data)) == [
        "3 samples, which a model will memorise: take at least 200",
        "1 class with only one sample: dog",
        "all captions are 'a photo': prompts will have no effect",
    ]


def test_few_samples_are_told_with_another_way(tmp_path):
    data = folder(tmp_path, {"a.png": noise(0)})
    way = ImageModality.for_few
    few = "1 sample, which a model will memorise"
    assert list(problems(data, for_few=way)) == [
        f"{few}: take at least 200, or experiment=image/lora, which trains a pretrained pipeline"
    ]
    assert list(problems(data, from_scratch=False, for_few=way)) == []
    assert list(problems(data, for_few=way, starts=True)) == [f"{few}: watch the previews and stop early"]


@pytest.mark.parametrize(
    ("modality", "model", "also"),
    [
        (ImageModality(3), "emoji", ImageModality.for_few),
        (AudioModality(8000), "drums", AudioModality.for_few),
        (ShapeModality(6), "furniture", None),
    ],
)
def test_few_samples_are_a_reason_to_train_the_bundled_model_of_their_modality(modality, model, also):
    further = f"experiment=finetune init={model}, which trains a bundled model further"
    assert for_few(modality) == further + (f", or {also}" if also else "")


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (1.0, "4 of 5 sounds are shorter than a quarter of the 1 s of a clip, and the rest is silence: "),
        (0.3, None),
    ],
)
def test_clips_that_are_mostly_silence_are_told(tmp_path, seconds, told):
    for i, samples in enumerate((800, 880, 960, 1203, 4000)):
        soundfile.write(tmp_path / f"{i}.wav", noise(i).reshape(-1).repeat(8)[:samples] / 255 - 0.5, 8000)
    data = Folder(AudioModality(8000), tmp_path, seconds=seconds, cache=tmp_path / "cache")
    lines = [line for line in problems(data) if "sounds" in line]
    assert lines == ([f"{told}set data.seconds=0.16"] if told else [])


@pytest.mark.parametrize("classes", [7, 8])
def test_rows_that_are_shown_have_every_class_of_data_that_repeat(classes):
    rows = drawn_rows(64 * classes, 64)
    assert len(set(rows)) == 64
    assert {row % classes for row in rows} == set(range(classes))
    assert sorted(drawn_rows(5, 64)) == [0, 1, 2, 3, 4]
