"""Models so small that a laptop runs the whole chain: stand-ins for pretrained ones, a trained VAE, and its recipe."""
