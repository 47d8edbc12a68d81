"""The compiled loops of the search for words. `atlas.words.search` says what they do.

Masks are bits in the order of the responses of one neuron, cut into words that do not cross blocks (`orders.Pattern`).
An operation joins a formula F with a concept C: 0 is F AND C, 1 F AND NOT C, 2 F OR C.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from atlas.arrays import Doubles, Floats
from atlas.compiled import compiled
from atlas.words.chance import Places
from atlas.words.formula import OPERATIONS, Terms
from atlas.words.orders import Orders

_STRIP = 256  # concepts side by side whose sums stay in the first cache
_FIRST = 32  # candidates of the largest bounds, which are computed first
_SLACK = np.float32(1 + 1e-5)
_ONE = np.uint64(1)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)

Bits = NDArray[np.uint64]

_inline: Callable[[Any], Any] = numba.njit(inline="always", error_model="numpy")
_helper: Callable[[Any], Any] = numba.njit(nogil=True, error_model="numpy")


@_inline
def _ones(x: Any) -> Any:
    """Number of bits set; compilers know this as one instruction."""
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (x * np.uint64(0x0101010101010101)) >> np.uint64(56)


@_helper
def _transpose(square: Bits) -> None:
    """Bit j of word i changes places with bit i of word j, of 64 words (Warren, Hacker's Delight, 7-3)."""
    width, mask = np.uint64(32), np.uint64(0x00000000FFFFFFFF)
    while width:
        k = np.uint64(0)
        while k < np.uint64(64):
            change = ((square[k] >> width) ^ square[k | width]) & mask
            square[k] ^= change << width
            square[k | width] ^= change
            k = ((k | width) + _ONE) & ~width
        width >>= _ONE
        mask ^= mask << width


@_helper
def _expand(order: Orders, rows: Bits, start: Places, size: Places, words: Bits) -> None:
    """Masks (words, concepts) of all concepts in an order, from `rows` (images, concepts / 64)."""
    square = np.empty(64, np.uint64)
    for w in range(words.shape[0]):
        for part in range(rows.shape[1]):
            for place in range(64):
                square[place] = rows[order[start[w] + place], part] if place < size[w] else np.uint64(0)
            _transpose(square)
            for concept in range(64):
                words[w, 64 * part + concept] = square[concept]


@_helper
def _count(words: Bits, block: Places, counts: Floats) -> None:
    """Images of each concept in each block (blocks, concepts)."""
    counts[:] = 0
    for w in range(words.shape[0]):
        for c in range(words.shape[1]):
            counts[block[w], c] += np.float32(_ones(words[w, c]))


@_helper
def precision(mask: Bits, start: Places, ends: Places) -> tuple[float, int]:
    """Average precision of a mask, ties as one threshold, and how many it holds; sums in the order of the places."""
    total, group, held, last = 0.0, 0, 0, 0
    for w in range(len(mask)):
        left = mask[w]
        while left:
            low = left & (~left + _ONE)
            left ^= low
            end = ends[start[w] + np.int64(_ones(low - _ONE))]
            if end != last and group:
                total += group * held / last
                group = 0
            last = end
            group += 1
            held += 1
    if group:
        total += group * held / last
    return (total / held if held else 0.0), held


@_helper
def _bound(
    mask: Bits, parent: Floats, holds: Any, words: Bits, counts: Floats, sizes: Floats, word_block: Places,
    block_ends: Places, block_first: Places, mean: Floats, inverse: Floats, least: Any, first: Any, bounds: Floats,
) -> None:  # fmt: skip
    """Upper bounds (3, concepts) of the excess of a formula joined with each concept, -inf where it is no new one.

    In a block that begins behind R places and C held ones, c held ones are precise to at most (C + c) / (R + c), as if
    they came first, or (C + c) / (end of the block's first group of ties), if that is less.
    """
    images, concepts = block_ends[-1], words.shape[1]
    ones = np.empty(_STRIP, np.uint64)
    held, bound = np.empty((OPERATIONS, _STRIP), np.float32), np.empty((OPERATIONS, _STRIP), np.float32)
    for at in range(0, concepts, _STRIP):
        wide = min(_STRIP, concepts - at)
        held[:] = 0
        bound[:] = 0
        w = 0
        for block in range(len(block_ends)):
            ones[:] = 0
            while w < words.shape[0] and word_block[w] == block:
                bits = mask[w]
                if bits:
                    for c in range(wide):
                        ones[c] += _ones(bits & words[w, at + c])
                w += 1
            before = np.float32(block_ends[block - 1] if block else 0)
            floor, own = np.float32(block_first[block]), parent[block]
            for c in range(wide):
                both = np.float32(ones[c])
                rest, either = own - both, own + counts[block, at + c] - both
                held[0, c] += both
                held[1, c] += rest
                held[2, c] += either
                bound[0, c] += both * held[0, c] / max(before + both, floor)
                bound[1, c] += rest * held[1, c] / max(before + rest, floor)
                bound[2, c] += either * held[2, c] / max(before + either, floor)
        for c in range(wide):
            both, size = held[0, c], sizes[at + c]
            for operation in range(OPERATIONS):
                n = held[operation, c]
                old = both == holds or both == (np.float32(0) if operation == 1 else size)
                if first:
                    old = operation > 0
                if old or n < least or n > images - least:
                    bounds[operation, at + c] = -np.inf
                else:
                    n_ = np.int64(n)
                    bounds[operation, at + c] = (bound[operation, c] * _SLACK / n - mean[n_]) * inverse[n_] + 1e-3


@_helper
def _join(operation: Any, mask: Bits, other: Bits, joined: Bits) -> int:
    """Writes a mask joined with another; returns how many the result holds."""
    n = 0
    for w in range(len(mask)):
        if operation == 0:
            joined[w] = mask[w] & other[w]
        elif operation == 1:
            joined[w] = mask[w] & ~other[w]
        else:
            joined[w] = mask[w] | other[w]
        n += int(_ones(joined[w]))
    return n


@_helper
def _enter(beam: Any, excess: Any, number: Any, mask: Bits, held: Bits) -> None:
    """Puts a formula into a beam: excess descends, of equals the lower number goes first; no extent stands twice."""
    z, numbers, masks, helds = beam
    row = len(z)
    for other in range(len(z)):
        if z[other] == excess and (masks[other] == mask).all():
            if numbers[other] <= number:
                return
            row = other  # the same images by a lower number: it takes the place
            break
    last = min(row, len(z) - 1)
    place = row
    while place and (excess > z[place - 1] or (excess == z[place - 1] and number < numbers[place - 1])):
        place -= 1
    if place > last:
        return
    for down in range(last, place, -1):
        z[down], numbers[down] = z[down - 1], numbers[down - 1]
        masks[down], helds[down] = masks[down - 1], helds[down - 1]
    z[place], numbers[place], masks[place], helds[place] = excess, number, mask, held


@_helper
def _try(number: Any, beam: Any, wider: Any, words: Bits, held: Bits, tables: Any, least: Any, joined: Any) -> None:
    """Computes the excess of candidate `number` and enters it, if it holds for enough images of both halves."""
    start, ends, mean, deviation, held_images = tables
    concepts = words.shape[1]
    parent, rest = number // (OPERATIONS * concepts), number % (OPERATIONS * concepts)
    operation, concept = rest // concepts, rest % concepts
    n = _join(operation, beam[3][parent], held[concept], joined[1])
    if n < least or n > held_images - least:
        return
    _join(operation, beam[2][parent], words[:, concept], joined[0])
    found, n = precision(joined[0], start, ends)
    _enter(wider, (found - mean[n]) / deviation[n], number, joined[0], joined[1])


@_helper
def _largest(bounds: Floats, first: Any) -> None:
    """Writes the places of the largest bounds to `first`, -1 where there are no more; of equals the first places."""
    values = np.full(len(first), -np.inf, np.float32)
    first[:] = -1
    for number in range(len(bounds)):
        if bounds[number] > values[-1]:
            row = len(first) - 1
            while row and bounds[number] > values[row - 1]:
                values[row], first[row] = values[row - 1], first[row - 1]
                row -= 1
            values[row], first[row] = bounds[number], number


@_helper
def _widen(
    beam: Any, wider: Any, words: Bits, counts: Floats, sizes: Floats, held: Bits, blocks: Any, bounding: Any,
    tables: Any, least: Any, first: Any, bounds: Floats,
) -> None:  # fmt: skip
    """The beam of formulas one term longer: all whose bound reaches the last of the beam are computed."""
    word_block, block_ends, block_first = blocks
    mean, inverse = bounding
    z, numbers = wider[0], wider[1]
    z[:], numbers[:] = -np.inf, -1
    parent = np.zeros(len(block_ends), np.float32)
    joined = (np.empty(words.shape[0], np.uint64), np.empty(held.shape[1], np.uint64))
    bounds[:] = -np.inf
    for row in range(len(beam[0])):
        if beam[1][row] < 0:
            continue
        parent[:] = 0
        for w in range(words.shape[0]):
            parent[word_block[w]] += np.float32(_ones(beam[2][row, w]))
        _bound(
            beam[2][row], parent, parent.sum(), words, counts, sizes, word_block, block_ends, block_first, mean,
            inverse, least, first, bounds[row],
        )  # fmt: skip
    flat = bounds.reshape(-1)
    early = np.empty(_FIRST, np.int64)
    _largest(flat, early)
    for place in range(len(early)):
        if early[place] >= 0:
            _try(early[place], beam, wider, words, held, tables, least, joined)
    for number in range(len(flat)):
        if flat[number] > -np.inf and flat[number] >= z[-1]:
            _try(number, beam, wider, words, held, tables, least, joined)


def _search(
    orders: Orders, rows: Bits, held: Bits, held_images: int, cut: tuple[Places, ...], tables: tuple[Doubles, Doubles],
    bounding: tuple[Floats, Floats], least: int, excess: Doubles, terms: Terms,
) -> None:  # fmt: skip
    """Beams of all lengths of each order: `excess` (orders, lengths, beam), `terms` (orders, lengths, beam, length)."""
    ends, word_block, word_start, word_size, block_ends, block_first = cut
    lengths, size = excess.shape[1], excess.shape[2]
    concepts, w = held.shape[0], len(word_start)
    words, counts = np.empty((w, concepts), np.uint64), np.empty((len(block_ends), concepts), np.float32)
    bounds = np.empty((size, OPERATIONS, concepts), np.float32)
    blocks = (word_block, block_ends, block_first)
    exact = (word_start, ends, tables[0], tables[1], held_images)
    h = held.shape[1]
    beam = (np.empty(size), np.empty(size, np.int64), np.empty((size, w), np.uint64), np.empty((size, h), np.uint64))
    wider = (np.empty(size), np.empty(size, np.int64), np.empty((size, w), np.uint64), np.empty((size, h), np.uint64))
    for k in range(len(orders)):
        _expand(orders[k], rows, word_start, word_size, words)
        _count(words, word_block, counts)
        sizes = counts.sum(0)
        beam[1][:] = -1
        beam[1][0] = 0
        for word in range(w):
            beam[2][0, word] = _ALL >> np.uint64(64 - word_size[word])
        beam[3][0] = _ALL
        for length in range(lengths):
            _widen(beam, wider, words, counts, sizes, held, blocks, bounding, exact, least, length == 0, bounds)
            for row in range(size):
                excess[k, length, row] = wider[0][row]
                number = wider[1][row]
                terms[k, length, row] = -1
                if number < 0:
                    continue
                parent, rest = number // (OPERATIONS * concepts), number % (OPERATIONS * concepts)
                if length:
                    terms[k, length, row] = terms[k, length - 1, parent]
                terms[k, length, row, length] = OPERATIONS * (rest % concepts) + rest // concepts
            beam, wider = wider, beam


@cache
def search_loop() -> Callable[..., None]:
    """`_search` as machine code."""
    places, floats = types.Array(types.int32, 1, "C", readonly=True), types.Array(types.float32, 1, "C", readonly=True)
    doubles = types.Array(types.float64, 1, "C", readonly=True)
    several: Callable[[Any], Any] = types.Tuple
    bits = types.Array(types.uint64, 2, "C", readonly=True)
    orders = types.Array(types.int32, 2, "C", readonly=True)
    cut, tables, bounding = (several((kind,) * n) for kind, n in ((places, 6), (doubles, 2), (floats, 2)))
    signature = types.void(
        orders, bits, bits, types.int64, cut, tables,
        bounding, types.int64, types.Array(types.float64, 3, "C"), types.Array(types.int32, 4, "C"),
    )  # fmt: skip
    return compiled(signature, _search)
