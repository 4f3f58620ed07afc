"""MultiDiff: train and sample diffusion models of any modality."""
