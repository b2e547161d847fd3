"""Code versions of the steps whose algorithm lies in `vid_assets.steps` itself. Bumped by hand with the algorithm."""

#: `steps.sources` and `footage.membership`: which file belongs to which batch.
SOURCES_VERSION = "1"
#: `steps.text`: which sidecar is whose caption, and how its text is read.
CAPTIONS_VERSION = "1"
#: `steps.training_sets`: membership, held-out split, digest.
TRAINING_SET_VERSION = "1"
