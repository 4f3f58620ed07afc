"""Pretrained pipelines of other libraries, opened from disk, offline."""

from multidiff.pretrained.folder import Opened, is_pipeline, open_folder, pipeline_hash

__all__ = ["Opened", "is_pipeline", "open_folder", "pipeline_hash"]
