"""Trainings of tiny pretrained pipelines."""

from multidiff.training.train import train
from tests.tiny import fast_compose

TUNED = (
    "experiment=image/lora",
    "trainer.accelerator=cpu",
    "trainer.precision=32-true",
    "data.buckets=null",
    "trainer.val_check_interval=1000",
    "callbacks.previews.every=0",
    "loader.batch_size=2",
    "logger=[]",
)
"""On the CPU."""


def tuned_config(pipeline, pictures, run_dir, *overrides):
    config = fast_compose([*TUNED, f"data.root={pictures}", *overrides])
    config.pretrained = str(pipeline)
    config.run_dir = str(run_dir)
    return config


def tuned(pipeline, pictures, run_dir, *overrides):
    """Train a LoRA of the tiny ``pipeline`` into ``run_dir``."""
    return train(tuned_config(pipeline, pictures, run_dir, *overrides))
