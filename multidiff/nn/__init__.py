"""Building blocks of backbones, for samples with one, two or three dimensions."""
