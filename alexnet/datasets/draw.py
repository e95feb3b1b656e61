"""Which images of an image folder are held out: of each class its share, copies of one file together.

In: labels int64 [N] and the digests uint8 [N, 32] of the files. The draw depends on the digests and a seed, so that an
image which is added later leaves nearly all others where they were.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alexnet.datasets.images import Labels


@dataclass(frozen=True)
class _Group:
    """Copies of one file."""

    places: list[int]
    label: int
    is_contradictory: bool  # it lies in several classes
    priority: bytes


@dataclass(frozen=True)
class Copies:
    """Files that are byte for byte the same: how many are `repeated`, beyond the first of each, and `contradictory`,
    the places of two files of different classes.
    """

    repeated: int
    contradictory: tuple[int, int] | None


def most(labels: Labels, digests: npt.NDArray[np.uint8]) -> int:
    """How many images can be held out when each class keeps one group of copies."""
    return sum(len(group.places) for turn, group in _in_turn(labels, digests, 0) if turn < 1)


def held_out(labels: Labels, digests: npt.NDArray[np.uint8], count: int, seed: int) -> npt.NDArray[np.bool_]:
    """Bool [N]: true for the `count` images that are held out; for fewer or more where copies leave no other way.

    What is drawn for a smaller count is among what is drawn for a larger one, where there are no copies. A file that
    lies in several classes is never held out.
    """
    chosen = np.zeros(len(labels), np.bool_)
    left = count
    for turn, group in _in_turn(labels, digests, seed):
        if turn < 1 and (len(group.places) <= left or left == count):
            chosen[group.places] = True
            left -= len(group.places)
    return chosen


def find_copies(labels: Labels, digests: npt.NDArray[np.uint8]) -> Copies:
    """Count copies among the images."""
    groups = _groups(labels, digests, 0)
    contradictory = next((group for group in groups if group.is_contradictory), None)
    pair = None
    if contradictory:
        first = contradictory.places[0]
        pair = first, next(place for place in contradictory.places if labels[place] != labels[first])
    return Copies(len(labels) - len(groups), pair)


def _in_turn(labels: Labels, digests: npt.NDArray[np.uint8], seed: int) -> list[tuple[float, _Group]]:
    """All groups in the order in which they are held out, each with the share of its class before it; 1 for those that
    are kept to train on.
    """
    by_class: dict[int, list[_Group]] = {}
    turns = []
    for group in _groups(labels, digests, seed):
        if group.is_contradictory:
            turns.append((1.0, group))
        else:
            by_class.setdefault(group.label, []).append(group)
    for groups in by_class.values():
        groups.sort(key=lambda group: group.priority)
        total, before = sum(len(group.places) for group in groups), 0
        for group in groups[:-1]:
            turns.append(((before + len(group.places) / 2) / total, group))
            before += len(group.places)
        turns.append((1.0, groups[-1]))
    return sorted(turns, key=lambda item: (item[0], item[1].priority))


def _groups(labels: Labels, digests: npt.NDArray[np.uint8], seed: int) -> list[_Group]:
    places: dict[bytes, list[int]] = {}
    for place, digest in enumerate(digests):
        places.setdefault(digest.tobytes(), []).append(place)
    return [
        _Group(
            places=found,
            label=int(labels[found[0]]),
            is_contradictory=bool((labels[found] != labels[found[0]]).any()),
            priority=hashlib.sha256(seed.to_bytes(8, "big") + digest).digest(),
        )
        for digest, found in places.items()
    ]
