"""Where a response lies among all that a neuron made of the atlas's images, as far as its stored histogram can say."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from atlas.arrays import Doubles, Floats
from atlas.read.neurons import Neurons
from atlas.read.records import Array

_APART = 1 << 33
"""Between the keys of two neurons: more than there are float32 numbers."""


class Places(NamedTuple):
    """Of n responses, (n,) each. `low`, `high`: shares of the atlas's images below the edges of the response's bin;
    `quantile` lies between them, linear within the bin. `deviations` from the neuron's mean, in its standard deviation.
    """

    low: Doubles
    high: Doubles
    quantile: Doubles
    deviations: Doubles


class Habits:
    """The histograms of all neurons, laid out so that a whole layer is looked up at once.

    A bin holds its left edge where that is not negative, else its right edge, as `atlas.scan.statistics` cuts them;
    the outermost stored edges are the exact extremes, so a response beyond them is beyond all images.
    """

    def __init__(self, neurons: Neurons) -> None:
        number, bins = neurons.bins()
        left, right, count = bins["left"], bins["right"].astype(np.float64), bins["count"]
        key = number * _APART + _ascending(left)
        order = np.argsort(key, kind="stable")
        self._numbers = neurons.numbers
        self._key = key[order]
        self._left, self._right = left[order].astype(np.float64), right[order]
        owner = number[order]
        groups = len(neurons.numbers)
        self._first = np.searchsorted(owner, np.arange(groups + 1))
        running = np.concatenate([[0], np.cumsum(count[order])])
        self._total = running[self._first[1:]] - running[self._first[:-1]]
        self._below = running[:-1] - running[self._first[:-1]][owner]
        self._upto = self._below + count[order]

    def places(self, numbers: Array, responses: Floats) -> Places:
        """Where `responses` (n,), largest values of the map, lie for the neurons `numbers` (n,)."""
        responses = np.asarray(responses, np.float32)
        key = numbers * _APART + _ascending(responses)
        begin, end = self._first[numbers], self._first[numbers + 1]
        at = np.where(responses < 0, np.searchsorted(self._key, key, "left"), np.searchsorted(self._key, key, "right"))
        at = at - 1
        if len(self._key):
            least = (at < begin) & (end > begin) & (self._key[np.minimum(begin, len(self._key) - 1)] == key)
            at = np.where(least, begin, at)  # the smallest of all: its edge is its own value
        there = (at >= begin) & (end > begin)
        at = np.where(there, at, 0)
        none = np.zeros(len(responses), np.int64)
        below, upto = (each[at] if len(each) else none for each in (self._below, self._upto))
        left, right = (each[at] if len(each) else none.astype(float) for each in (self._left, self._right))
        value = responses.astype(np.float64)
        inside = there & ((value < right) | ((value == right) & ((value < 0) | (at == end - 1))))
        total = np.maximum(self._total[numbers], 1)
        low = np.where(there, np.where(inside, below, upto), 0) / total
        high = np.where(there, upto, 0) / total
        width = right - left
        part = np.divide(value - left, width, out=np.zeros_like(value), where=inside & (width > 0))
        return Places(low, high, low + np.clip(part, 0, 1) * (high - low), self._deviations(numbers, value))

    def _deviations(self, numbers: Array, value: Doubles) -> Doubles:
        mean, std = self._numbers["mean"][numbers], self._numbers["std"][numbers]
        return np.asarray(np.divide(value - mean, std, out=np.zeros_like(value), where=std > 0))


def _ascending(values: Floats) -> Array:
    """float32 (n,) as whole numbers in the same order, from -2^31 to 2^31; both zeros are 0."""
    bits = np.ascontiguousarray(values, np.float32).view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)
