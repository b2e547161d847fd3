"""The recipe of the shipped tiny VAE: its footage, the linear code that it is measured against, and its training.

`python -m model.tiny.vae_training --footage FOLDER --output FOLDER` makes the weights in `model/tiny/vae` again.
Nothing here is needed to use them.
"""
