"""Which position of an output stands for which place of the image: tokens, windows, maps whose channels come last.

The last map before tokens are cut from it (or any convolution's or pool's) lies on a grid. Its cells are numbered, row
by row, image by image, and the numbers go through every view, permutation, roll, slice and concatenation after it as
the values do. An operation that mixes channels at one position keeps them; attention gives each position the place of
its query. What has no number, a class token or a register, has no place. Two images are traced, so that a batch that
was folded into windows, or put behind the tokens, is told from them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from atlas.arrays import Ints
from atlas.network.nodes import Graph, Node, Ref

IMAGE = 1 << 32
"""The number of the second image's first cell."""
NONE, PADDED = -1, -2
"""No place: a token that is no patch; padding, which is no part of the image."""


@dataclass(frozen=True, eq=False)
class Places:
    """Numbers of grid cells, of the value's rank, of size 1 along dimensions that only hold channels."""

    numbers: Ints
    grid: tuple[int, int]

    def change(self, by: Callable[[Ints], Any]) -> Places:
        return Places(np.asarray(by(self.numbers)), self.grid)

    def along(self, dim: int) -> bool:
        """Whether positions, or images, lie along a dimension."""
        return bool(self.numbers.shape[dim] > 1)


Found = dict[int, "Places | None"]


def find_places(graph: Graph) -> Found:
    """The places of every value of a graph of two images; None where there are none, or they cannot be followed."""
    found: Found = {value.id: None for value in graph.values}
    for node in graph.nodes:
        results = _Follow(graph, node, found).results()
        found.update(zip(node.outputs, results, strict=True))
    return found


def _raster(shape: Sequence[int], dims: tuple[int, int]) -> Places:
    """A fresh grid over two dimensions of a value whose first is the images."""
    height, width = shape[dims[0]], shape[dims[1]]
    cells = np.arange(shape[0])[:, None] * IMAGE + np.arange(height * width)  # (images, cells)
    return Places(cells.reshape([n if d in (0, *dims) else 1 for d, n in enumerate(shape)]), (height, width))


class _Follow:
    """What one node does to places."""

    def __init__(self, graph: Graph, node: Node, found: Found) -> None:
        self.graph, self.node, self.found = graph, node, found
        self.op = node.op.removeprefix("aten.").removesuffix("_")
        self.images = graph.values[graph.input].shape[0]

    def results(self) -> list[Places | None]:
        return [self._checked(self._follow(which), self._shape(out)) for which, out in enumerate(self.node.outputs)]

    def _checked(self, places: Places | None, shape: Sequence[int]) -> Places | None:
        """Places that fit the value, of size 1 wherever they are alike; nothing followed wrongly is passed on."""
        if places is None or places.numbers.ndim != len(shape) or places.grid == (1, 1):
            return None
        numbers = places.numbers
        if any(n not in (1, wanted) for n, wanted in zip(numbers.shape, shape, strict=True)):
            return None
        for dim in range(numbers.ndim):
            one = np.take(numbers, [0], dim)
            numbers = one if numbers.shape[dim] > 1 and bool((numbers == one).all()) else numbers
        return Places(numbers, places.grid) if bool((numbers >= 0).any()) else None

    def _shape(self, value: int) -> tuple[int, ...]:
        return self.graph.values[value].shape

    def _of(self, place: int) -> Places | None:
        ref = self.node.args[place] if place < len(self.node.args) else None
        return self.found[ref.value] if isinstance(ref, Ref) else None

    def _arg(self, place: int, name: str, default: Any = None) -> Any:
        return self.node.args[place] if place < len(self.node.args) else self.node.kwargs.get(name, default)

    def _follow(self, which: int) -> Places | None:
        shape = self._shape(self.node.outputs[which])
        if not self.node.inputs:
            return None
        own = self._shape(self.node.inputs[0])
        first = self.found[self.node.inputs[0]]
        if self.op in ("convolution", "col2im", "pixel_shuffle", "upsample_nearest2d", "upsample_bilinear2d",
                       "upsample_bicubic2d") or "pool2d" in self.op:  # fmt: skip
            return self._window(first, own, shape)
        if self.op in ("matmul", "bmm", "baddbmm") or "scaled_dot_product" in self.op:
            return self._attend()
        if self.op in ("cat", "stack"):
            return self._joined(shape)
        if self.op in ("linear", "mm", "addmm"):
            source = self._of(1 if self.op == "addmm" else 0)
            if source is not None and source.along(-1):  # places become channels, as where patches are merged
                return self._regrid(source.numbers[..., :1], shape)
            return source
        if first is not None and self.op in _MOVES:
            return _MOVES[self.op](self, first, own, shape, which)
        if self.node.pointwise or self.op in _POINTWISE:
            return self._merged([self.found[v] for v in self.node.inputs], shape)
        return None

    def _window(self, first: Places | None, own: Sequence[int], shape: Sequence[int]) -> Places | None:
        """The same places where the size stays, a fresh grid where it changes."""
        if len(shape) != 4 or (self.op != "col2im" and self.graph.input != self.node.inputs[0] and len(own) != 4):
            return None
        same = tuple(own[2:]) == tuple(shape[2:])
        if first is not None and same and not first.along(1):
            return first
        placed = first is None or first.numbers.shape[2:] == tuple(own[2:])
        return _raster(shape, (2, 3)) if shape[0] == self.images and placed else None

    def _attend(self) -> Places | None:
        """A product of two matrices: rows are placed as the first's, else columns as the second's."""
        left, right = self._of(0), self._of(1)
        if self.op == "baddbmm":
            left, right = self._of(1), self._of(2)
        if left is not None and left.along(-2):
            return left if not left.along(-1) else None
        if right is not None and right.along(-1) and "scaled" not in self.op:
            return right.change(lambda a: a[..., :1, :]) if not right.along(-2) else None
        return None

    def _joined(self, shape: Sequence[int]) -> Places | None:
        parts = [(self.found[ref.value], self._shape(ref.value)) for ref in self.node.args[0]]
        some = next((p for p, _ in parts if p is not None), None)
        if some is None:
            return None
        dim = self._arg(1, "dim", 0) % len(shape)
        if self.op == "stack":
            return self._merged([p and p.change(lambda a: np.expand_dims(a, dim)) for p, _ in parts], shape)
        if not any(p is not None and p.along(dim) for p, _ in parts):
            return self._merged([p for p, _ in parts], shape)
        rest = np.broadcast_shapes(*([n if d != dim else 1 for d, n in enumerate(p.numbers.shape)]
                                     for p, _ in parts if p is not None))  # fmt: skip
        full = []
        for places, own in parts:
            wanted = [own[dim] if d == dim else n for d, n in enumerate(rest)]
            full.append(np.full(wanted, NONE) if places is None else np.broadcast_to(places.numbers, wanted))
        return Places(np.concatenate(full, dim), some.grid)

    def _merged(self, parts: Sequence[Places | None], shape: Sequence[int]) -> Places | None:
        """Places that all parts agree on; a fresh grid where channels of other places come together on a map."""
        there = [p for p in parts if p is not None]
        if not there:
            return None
        try:
            wide = [np.broadcast_arrays(there[0].numbers, p.numbers) for p in there]
        except ValueError:
            return None
        if all(np.array_equal(a, b) for a, b in wide):
            return max(there, key=lambda p: p.numbers.size)
        # A class token beside which patches are added has a place nowhere: what has a number wins over what has none.
        if all(((a == b) | (a == NONE) | (b == NONE)).all() for a, b in wide):
            return Places(np.asarray(np.maximum.reduce([np.broadcast_to(p.numbers, wide[-1][0].shape) for p in there])),
                          there[0].grid)  # fmt: skip
        return self._regrid(there[0].numbers, shape)

    def _regrid(self, numbers: Ints, shape: Sequence[int]) -> Places | None:
        whole = len(shape) == numbers.ndim and shape[0] == self.images
        dims = [d for d in range(1, len(shape)) if whole and numbers.shape[d] > 1 and shape[d] == numbers.shape[d]]
        return _raster(shape, (dims[0], dims[1])) if whole and len(dims) == 2 else None

    def _view(self, first: Places, own: Sequence[int], shape: Sequence[int], _: int) -> Places | None:
        """Runs of dimensions that hold channels alone stay of size 1; elsewhere each channel repeats its place."""
        wide, new = list(first.numbers.shape), []
        for old_dims, new_sizes in groups(own, shape):
            if all(wide[d] == 1 for d in old_dims):
                new += [1] * len(new_sizes)
            else:
                new += new_sizes
                for d in old_dims:
                    wide[d] = own[d]
        return first.change(lambda a: np.broadcast_to(a, wide).reshape(new))

    def _permute(self, first: Places, own: Sequence[int], _: Sequence[int], __: int) -> Places:
        order = list(range(len(own)))
        if self.op.startswith("permute"):
            order = [d % len(order) for d in self.node.args[1]]
        else:
            a, b = (self.node.args[1], self.node.args[2]) if len(self.node.args) > 2 else (0, 1)
            order[a], order[b] = order[b], order[a]
        return first.change(lambda a: a.transpose(order))

    def _unsqueeze(self, first: Places, _: Sequence[int], shape: Sequence[int], __: int) -> Places:
        return first.change(lambda a: np.expand_dims(a, self.node.args[1] % len(shape)))

    def _roll(self, first: Places, own: Sequence[int], _: Sequence[int], __: int) -> Places:
        dims = [d % len(own) for d in self._arg(2, "dims")]
        return first.change(lambda a: np.roll(a, self.node.args[1], dims))

    def _flip(self, first: Places, own: Sequence[int], _: Sequence[int], __: int) -> Places:
        return first.change(lambda a: np.flip(a, tuple(d % len(own) for d in self.node.args[1])))

    def _slice(self, first: Places, own: Sequence[int], _: Sequence[int], __: int) -> Places:
        dim = self._arg(1, "dim", 0) % len(own)
        which = slice(self._arg(2, "start"), self._arg(3, "end"), self._arg(4, "step", 1))
        if not first.along(dim):
            return first
        return first.change(lambda a: a[(slice(None),) * dim + (which,)])

    def _select(self, first: Places, own: Sequence[int], _: Sequence[int], which: int) -> Places:
        dim = self._arg(1, "dim", 0) % len(own)
        at = which if self.op == "unbind" else self.node.args[2]
        return first.change(lambda a: np.take(a, at if first.along(dim) else 0, dim))

    def _split(self, first: Places, own: Sequence[int], _: Sequence[int], which: int) -> Places:
        dim = self._arg(2, "dim", 0) % len(own)
        if not first.along(dim):
            return first
        sizes = [self._shape(out)[dim] for out in self.node.outputs]
        return first.change(lambda a: np.take(a, range(sum(sizes[:which]), sum(sizes[: which + 1])), dim))

    def _index(self, first: Places, own: Sequence[int], shape: Sequence[int], _: int) -> Places | None:
        if self.op == "index":
            at = [d for d, each in enumerate(self.node.args[1]) if each is not None]
            if len(at) != 1:
                return None
            dim, ref = at[0], self.node.args[1][at[0]]
        else:
            dim, ref = self.node.args[1] % len(own), self.node.args[2]
        numbers = self.graph.values[ref.value].numbers
        if not first.along(dim):
            return first if len(shape) == len(own) else None
        return None if numbers is None else first.change(lambda a: np.take(a, numbers, dim))

    def _pad(self, first: Places, own: Sequence[int], _: Sequence[int], __: int) -> Places | None:
        numbers, pads = first.numbers, self.node.args[1]
        for i in range(len(pads) // 2):
            dim, before, after = len(own) - 1 - i, pads[2 * i], pads[2 * i + 1]
            if not first.along(dim):
                continue
            numbers = np.take(numbers, range(max(0, -before), numbers.shape[dim] - max(0, -after)), dim)
            wide = [(max(0, before), max(0, after)) if d == dim else (0, 0) for d in range(len(own))]
            numbers = np.pad(numbers, wide, constant_values=PADDED)
        return Places(numbers, first.grid)

    def _same(self, first: Places, *_: Any) -> Places:
        return first

    def _over(self, first: Places, own: Sequence[int], shape: Sequence[int], _: int) -> Places | None:
        """A reduction over channels; over positions, what is left has the first of their places."""
        dims = self._arg(2 if self.op.endswith("norm") else 1, "dim")
        axes = {d % len(own) for d in ((dims,) if isinstance(dims, int) else dims or range(len(own)))}
        left = first.change(lambda a: a.min(tuple(axes), keepdims=len(shape) == len(own)))
        return left if len(np.unique(left.numbers % IMAGE)) > 1 else None


def groups(old: Sequence[int], new: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """The finest cut of a reshape into runs of old dimensions and the sizes of the new ones that hold the same."""
    found: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        dims: list[int] = []
        sizes: list[int] = []
        a = b = 1  # what is in the run so far, counted by old and by new dimensions
        while not dims or not sizes or a != b:
            if i < len(old) and (a <= b or j >= len(new)):
                dims.append(i)
                a, i = a * old[i], i + 1
            elif j < len(new):
                sizes.append(new[j])
                b, j = b * new[j], j + 1
            else:
                break
        found.append((dims, sizes))
    return found


_POINTWISE = frozenset(
    (
        *("clone", "detach", "alias", "_to_copy", "contiguous", "dropout", "native_dropout", "prelu", "_prelu_kernel"),
        *("where", "rsub", "hardswish", "hardsigmoid", "hardtanh", "gelu", "silu", "relu", "sigmoid", "tanh", "clamp"),
        *("leaky_relu", "elu", "mish", "add", "sub", "mul", "div", "addcmul", "copy"),
    )
)
Move = Callable[[_Follow, Places, Sequence[int], Sequence[int], int], Places | None]
_MANY: tuple[tuple[Move, tuple[str, ...]], ...] = (
    (_Follow._view, ("view", "_unsafe_view", "reshape", "squeeze", "_reshape_alias", "flatten", "unflatten")),
    (_Follow._permute, ("permute", "transpose", "t", "numpy_T")),
    (_Follow._split, ("split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes", "chunk")),
    (_Follow._select, ("select", "unbind")),
    (_Follow._index, ("index", "index_select")),
    (_Follow._over, ("mean", "sum", "amax", "amin", "var", "std", "norm", "linalg_vector_norm")),
    (
        _Follow._same,
        (
            "_softmax",
            "_safe_softmax",
            "native_layer_norm",
            "native_group_norm",
            "native_batch_norm",
            "expand",
            "cumsum",
        ),
    ),
    (_Follow._same, ("_native_batch_norm_legit_no_training", "_native_batch_norm_legit", "_batch_norm_no_update")),
    (_Follow._unsqueeze, ("unsqueeze",)),
    (_Follow._roll, ("roll",)),
    (_Follow._flip, ("flip",)),
    (_Follow._slice, ("slice",)),
    (_Follow._pad, ("constant_pad_nd",)),
)
_MOVES = {name: move for move, names in _MANY for name in names}
