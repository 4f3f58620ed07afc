"""The mathematics of diffusion: no modality, no files, no framework but torch."""
