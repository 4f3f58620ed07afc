"""Data too large to decode in advance: tar shards and tables, with random access to their samples."""
