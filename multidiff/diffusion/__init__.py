"""The mathematics of diffusion. It depends on torch and einops only: no modality, no files, no training framework."""
