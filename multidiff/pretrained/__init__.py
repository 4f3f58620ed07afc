"""Pretrained pipelines of other libraries, opened from disk, offline."""

from multidiff.pretrained.folder import Opened, is_pipeline, open_folder, pipeline_hash
from multidiff.pretrained.lora import fuse, stacked

__all__ = ["Opened", "fuse", "is_pipeline", "open_folder", "pipeline_hash", "stacked"]
