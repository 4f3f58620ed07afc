"""Building blocks that backbones share; each works on samples of one, two or three dimensions."""
