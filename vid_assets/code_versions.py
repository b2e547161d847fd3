"""The code version of every asset, gathered from beside the algorithms so that Dagster and the caching agree."""

from __future__ import annotations

from model.evaluate import EVALUATE_CODE_VERSION
from model.image_encoder import IMAGE_CODE_VERSION
from model.latent_space import VAE_CODE_VERSION
from model.manifest import TRAIN_CODE_VERSION
from model.text import TEXT_CODE_VERSION
from vid_assets.curation.duplicates import DUPLICATES_VERSION
from vid_assets.curation.groups import GROUPS
from vid_assets.curation.policy import POLICY_VERSION
from vid_assets.curation.scores import SCORES_VERSION
from vid_assets.curation.shots import SHOTS_VERSION
from vid_assets.encoding.content_key import LATENTS_VERSION
from vid_assets.encoding.windows import WINDOWS_VERSION
from vid_assets.footage.probe import PROBE_VERSION
from vid_assets.steps.versions import CAPTIONS_VERSION, SOURCES_VERSION, TRAINING_SET_VERSION

SOURCES = SOURCES_VERSION
VIDEOS = PROBE_VERSION
FRAME_STATS = ",".join(f"{name}:{version}" for name, version in sorted(GROUPS.items()))
SHOTS = SHOTS_VERSION
SCORES = SCORES_VERSION
POLICY = POLICY_VERSION
CAPTIONS = CAPTIONS_VERSION
TEXT = TEXT_CODE_VERSION
IMAGE = IMAGE_CODE_VERSION
DUPLICATES = DUPLICATES_VERSION
VAE = "1"
LATENTS = f"{LATENTS_VERSION}.{VAE_CODE_VERSION}.{WINDOWS_VERSION}"
TRAINING_SET = TRAINING_SET_VERSION
TRAIN = TRAIN_CODE_VERSION
EVALUATE = EVALUATE_CODE_VERSION
