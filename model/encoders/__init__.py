"""The encoders of what conditions a denoiser: captions to states, first frames to embeddings."""
