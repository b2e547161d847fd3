"""The model side: VAE and text encoder backends, the training loop and its evaluation.

It knows neither the orchestrator nor the asset package: it runs anywhere from a training manifest and a recipe.
"""
