"""Images that two networks answer differently, classes that gained and lost, and the neurons that moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.arrays import Doubles, Flags, Ints

MOVED = 5
"""Neurons stated a flip."""


@dataclass(frozen=True)
class Classes:
    """A class a row: images, accuracy of either, images that only the other (gained) and only the first (lost) names
    rightly, and McNemar's exact p of gained against lost."""

    class_id: Ints
    n: Ints
    accuracy: Doubles
    other_accuracy: Doubles
    gained: Ints
    lost: Ints
    p: Doubles


def by_class(class_id: Ints, right: Flags, other_right: Flags) -> Classes:
    """Accuracies and changes of each class that stands; images of class -1 count for none."""
    from scipy import stats

    ids, group = np.unique(class_id[class_id >= 0], return_inverse=True)
    known = class_id >= 0

    def count(flags: Flags) -> Ints:
        return np.bincount(group, flags[known], len(ids)).astype(np.int64)

    n = count(known)
    gained, lost = count(~right & other_right), count(right & ~other_right)
    p = np.array([
        stats.binomtest(int(g), int(g + b)).pvalue if g + b else 1.0 for g, b in zip(gained, lost, strict=True)
    ])  # fmt: skip
    return Classes(ids, n, count(right) / n, count(other_right) / n, gained, lost, p)


class Moved:
    """The matched neurons whose response moved most, image by image: `MOVED` of each, by absolute change.

    A response is counted in deviations from its mean over the shared sample, so that networks of other scales compare.
    """

    def __init__(self, images: int) -> None:
        self.change = np.zeros((images, 0))
        self.neuron = np.zeros((images, 0), np.int64)

    def take(self, neurons: Ints, values: Doubles, others: Doubles) -> None:
        """Enters neurons by number, with their standardised responses and their matches' (images, neurons)."""
        change = np.concatenate([self.change, others - values], 1)
        neuron = np.concatenate([self.neuron, np.broadcast_to(neurons, values.shape)], 1)
        order = np.lexsort((neuron, -np.abs(change)), axis=1)[:, :MOVED]
        self.change, self.neuron = np.take_along_axis(change, order, 1), np.take_along_axis(neuron, order, 1)


def standardised(responses: NDArray[Any]) -> Doubles:
    """Responses (images, neurons) less their mean over the images, in deviations; 0 where none changes."""
    rows = responses.astype(np.float64)
    rows -= rows.mean(0)
    deviation = rows.std(0)
    return np.asarray(rows / np.where(deviation > 0, deviation, 1))
