"""Damage to a checkpoint is always noticed, and files that training did not write are left alone."""

import csv

import pytest
import torch

import multidiff
from multidiff.sampling.model_directory import read_config
from multidiff.training.checkpointing import AtomicCheckpointIO
from multidiff.training.checkpoints import is_intact
from tests.cli.command import refused
from tests.tiny import TINY, tiny_train


@pytest.mark.slow
def test_any_flipped_bit_of_a_checkpoint_is_noticed(tmp_path):
    tensors = {"state_dict": {"w": torch.randn(20)}, "optimizer_states": [], "global_step": 1}
    path = tmp_path / "step_00000001.ckpt"
    AtomicCheckpointIO().save_checkpoint({**tensors, "pytorch-lightning_version": "2"}, path)
    assert is_intact(path)
    content = path.read_bytes()
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        assert not is_intact(path), place


@pytest.mark.parametrize("content", [b"", b"PK", b"no zip"])
def test_what_is_no_checkpoint_is_damaged(tmp_path, content):
    (tmp_path / "a.ckpt").write_bytes(content)
    assert not is_intact(tmp_path / "a.ckpt")
    torch.save({"other": 1}, tmp_path / "b.ckpt")
    assert not is_intact(tmp_path / "b.ckpt")


def test_a_folder_that_no_training_wrote_is_not_touched(tmp_path):
    project = tmp_path / "project"
    (project / "model").mkdir(parents=True)
    (project / "model" / "net.py").write_text("mine")
    refused("train", *TINY, "run_dir=project", cwd=tmp_path, saying="holds files that no training wrote")
    refused("train", *TINY, "run_dir=", cwd=tmp_path, saying="run_dir is empty")
    assert (project / "model" / "net.py").read_text() == "mine"


@pytest.mark.parametrize("every", [1, 500], ids=["before validation", "at the end"])
def test_the_model_of_the_lowest_loss_stays_while_the_loss_rises(tmp_path, every):
    """Over a resume too, in which a high learning rate spoils the weights; a checkpoint of a step precedes its loss."""
    run, lowest = tmp_path / "run", tmp_path / "run" / "lowest_loss"
    often = ("trainer.val_check_interval=1", "ema=constant", "ema.decay=0", f"checkpoint_every={every}")
    tiny_train(run, *often, "trainer.max_steps=2")
    before = read_config(lowest)["training"]
    with (run / "logs" / "csv" / "metrics.csv").open() as file:
        losses = [float(row["val/loss"]) for row in csv.DictReader(file) if row["val/loss"]]
    assert before["val_loss"] == pytest.approx(min(losses))
    tiny_train(run, *often, "trainer.max_steps=3", "optimizer.lr=10", "resume=true")
    assert read_config(lowest)["training"] == before
    assert read_config(run / "model")["training"]["steps"] == 3
    assert len(multidiff.load(lowest).sample(1, steps=1)) == 1
