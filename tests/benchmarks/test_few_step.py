"""The pictures of few-step students."""

from argparse import Namespace

import few_step
import pytest
from PIL import Image

from modalities.image.modality import ImageModality
from multidiff.evaluation.sources import Generated
from multidiff.sampling.pipeline import Pipeline
from multidiff.training.train import train
from tests.data.pictures import noise
from tests.tiny import fast_compose, tiny_train


@pytest.mark.slow
def test_the_samples_of_a_model_with_prompts_have_those_of_the_data(tmp_path, monkeypatch):
    for i in range(40):
        Image.fromarray(noise(i)).resize((8, 8)).save(tmp_path / f"{i}.png")
        (tmp_path / f"{i}.txt").write_text(f"picture {i % 2}")
    small = ["backbone.widths=[8,8]", "backbone.head_size=8", "optimizer=adamw", "loader.workers=0"]
    data = [f"data.root={tmp_path}", "data.size=8", "conditioning=text", "loader.holdout=0.5"]
    length = ["trainer.max_steps=1", "callbacks.previews.every=0", "trainer.accelerator=cpu"]
    config = fast_compose(["experiment=image/folder", *data, *small, *length])
    config.run_dir = str(tmp_path / "run")
    train(config)
    monkeypatch.setattr(Generated, "first", lambda self, count: [each["caption"] for each in self.plan.samples])
    monkeypatch.setattr(ImageModality, "preview", lambda self, samples: samples)
    arguments = Namespace(columns=10, data=f"image_folder root={tmp_path} size=8")
    assert set(few_step.row(tmp_path / "run", 2, arguments)) == {"picture 0", "picture 1"}


def test_the_samples_of_a_model_with_classes_have_each_class(tmp_path, monkeypatch):
    tiny_train(tmp_path / "run", "trainer.max_steps=1")
    monkeypatch.setattr(Pipeline, "sample", lambda self, count, label, **settings: label)
    monkeypatch.setattr(ImageModality, "preview", lambda self, samples: samples)
    assert few_step.row(tmp_path / "run", 1, Namespace(columns=3, data="digits")) == ["0", "1", "2"]
