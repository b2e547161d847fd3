"""Code versions of the steps whose algorithm lies in `vid_assets.steps` itself. Bumped by hand with the algorithm."""

#: `steps.sources`, `footage.listing` and `footage.membership`: which file belongs to which batch, with which sidecars.
SOURCES_VERSION = "2"
#: `steps.captions` and `footage.sidecars`: which sidecar is whose caption, and how its text is read.
CAPTIONS_VERSION = "2"
#: `steps.training_sets`: membership, held-out split, digest.
TRAINING_SET_VERSION = "2"
