"""Group `transnet`: what TransNetV2 sees in each frame; measured where that splitter is in use."""

from __future__ import annotations

from vid_assets.curation.measures.base import Group
from vid_assets.curation.picture import Picture
from vid_assets.curation.transnet import Predictor


class TransNet(Group):
    """What TransNetV2 sees in each frame: the probability that it is in a transition between two shots.

    single: in the middle of one; many: anywhere in one. Both 0-1.
    """

    columns = ("single", "many")

    def __init__(self) -> None:
        super().__init__()
        self._predictor = Predictor()

    def add(self, picture: Picture) -> None:
        self.timestamps.append(picture.time_s)
        self._predictor.add(picture.rgb)

    def finish(self) -> None:
        single, many = self._predictor.finish()
        self.stats = {"single": list(single), "many": list(many)}
