"""vid_assets: from a folder of raw footage to a trained video diffusion model, as Dagster assets."""

__version__ = "0.1.0"
