"""How well detections agree with labels. Belongs here: matching one to one, and precision, recall and F1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """Counts of detections; scores of several files add up.

    correct: labels that a detection of their own matches. found: detections. labelled: labels.
    """

    correct: int = 0
    found: int = 0
    labelled: int = 0

    def __add__(self, other: Score) -> Score:
        return Score(self.correct + other.correct, self.found + other.found, self.labelled + other.labelled)

    @property
    def precision(self) -> float:
        """Share of the detections that are right, 0-1; 1 where nothing was found."""
        return self.correct / self.found if self.found else 1.0

    @property
    def recall(self) -> float:
        """Share of the labels that were found, 0-1; 1 where nothing is labelled."""
        return self.correct / self.labelled if self.labelled else 1.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, 0-1; 1 where nothing is labelled and nothing was found."""
        total = self.found + self.labelled
        return 2 * self.correct / total if total else 1.0


def match_frames(labels: Sequence[int], found: Sequence[int], tolerance: int = 1) -> Score:
    """Match frame numbers one to one, nearest first, at most `tolerance` frames apart."""
    return _match([(label, label) for label in labels], [(frame, frame) for frame in found], tolerance)


def match_stretches(labels: Sequence[tuple[int, int]], found: Sequence[tuple[int, int]], tolerance: int = 1) -> Score:
    """Match stretches [first, last] one to one, nearest first; both ends at most `tolerance` frames apart."""
    return _match(labels, found, tolerance)


def match_overlaps(labels: Sequence[tuple[int, int]], found: Sequence[tuple[int, int]], share: float = 0.0) -> Score:
    """Match stretches [first, last] one to one, largest overlap over union first, which must exceed `share`."""
    overlaps = [
        (-_overlap(label, stretch), number, other)
        for number, label in enumerate(labels)
        for other, stretch in enumerate(found)
    ]
    return _greedy([item for item in overlaps if -item[0] > share], len(labels), len(found))


def _match(labels: Sequence[tuple[int, int]], found: Sequence[tuple[int, int]], tolerance: int) -> Score:
    distances = [
        (float(max(abs(label[0] - stretch[0]), abs(label[1] - stretch[1]))), number, other)
        for number, label in enumerate(labels)
        for other, stretch in enumerate(found)
    ]
    return _greedy([item for item in distances if item[0] <= tolerance], len(labels), len(found))


def _greedy(pairs: list[tuple[float, int, int]], labelled: int, found: int) -> Score:
    """Take the pairs (cost, label, detection) from the cheapest on, each label and each detection once."""
    taken_labels: set[int] = set()
    taken: set[int] = set()
    for _, label, detection in sorted(pairs):
        if label not in taken_labels and detection not in taken:
            taken_labels.add(label)
            taken.add(detection)
    return Score(len(taken), found, labelled)


def _overlap(a: tuple[int, int], b: tuple[int, int]) -> float:
    """Frames in both over frames in either."""
    common = min(a[1], b[1]) - max(a[0], b[0]) + 1
    return max(0, common) / (a[1] - a[0] + b[1] - b[0] + 2 - max(0, common))
