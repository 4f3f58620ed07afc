"""A codec that is trained within a second."""

from multidiff.training.train import train
from tests.tiny import fast_compose

TINY_CODEC = (
    "experiment=codec/image",
    "data=digits",
    "modality.channels=1",
    "autoencoder.widths=[8,8]",
    "autoencoder.bottleneck.channels=2",
    "reconstruction.perceptual=0",
    "optimizer=adamw",
    "loader.batch_size=8",
    "trainer.max_steps=2",
    "trainer.val_check_interval=1000",
    "trainer.accelerator=cpu",
    "callbacks.previews.every=0",
)
"""An autoencoder of a few thousand weights on the digits."""


def train_codec(run_dir, *overrides):
    """Train a tiny codec into ``run_dir``."""
    config = fast_compose([*TINY_CODEC, *overrides])
    config.run_dir = str(run_dir)
    return train(config)
