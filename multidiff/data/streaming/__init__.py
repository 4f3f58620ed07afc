"""Data too large to be decoded in advance: tar shards and tables, of which any sample is read where it lies."""
