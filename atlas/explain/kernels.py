"""Deeper kernels as they are: a neuron's raw weights, a small map for each input, the strongest inputs first.

Lecture notes show them and say that they are hard to read, and so they are: the inputs of a deeper layer are maps, not
colours. Beside the neuron's examples they tell how many inputs count, and whether a kernel is smooth, oriented or flat.

A kernel's slice `w[o, c]` (kh, kw) is drawn in grey around mid-grey (0), all slices of a neuron on one scale, in rows
from the top left by falling Euclidean norm (ties by `c`), at most `MOST`. A batch norm fused into the layer gives the
kernel its factor, so that the sign is that of the response. Blue lines part the slices: no value is blue.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from atlas.explain import draw
from atlas.network.graph import Graph
from atlas.network.layers import find_candidates
from atlas.types import Layer

MOST = 64
"""Slices shown of a neuron."""
LINE = (70, 110, 170)

Doubles = NDArray[np.float64]


def find_kernels(graph: Graph, layers: Sequence[Layer]) -> Iterator[tuple[Layer, Doubles]]:
    """The kernels (C, c, kh, kw) of those of `layers` that are plain convolutions, in forward order; c: of a group."""
    wanted = {layer.name: layer for layer in layers}
    for candidate in find_candidates(graph):
        module = graph.modules[candidate.call.module]
        if candidate.name not in wanted or not is_plain(module):
            continue
        weight = module.weight.detach().to("cpu").double()
        if candidate.hook != candidate.call:
            norm = _norm(graph, candidate.value)
            factor = norm_factor(norm) if norm is not None else None
            if factor is None:
                continue
            weight = weight * factor[:, None, None, None]
        yield wanted[candidate.name], weight.numpy()


def is_plain(module: nn.Module | None) -> TypeGuard[nn.Conv2d]:
    """Whether a module convolves with its `weight` as it stands; a subclass that changes it first does not."""
    return (
        isinstance(module, nn.Conv2d)
        and type(module)._conv_forward is nn.Conv2d._conv_forward
        and (type(module).forward is nn.Conv2d.forward)
    )


def norm_factor(norm: nn.BatchNorm2d) -> Tensor | None:
    """γ / √(var + ε) of a batch norm in eval mode, float64 (C,); None without running statistics."""
    if norm.running_var is None:
        return None
    factor = (norm.running_var.detach().to("cpu").double() + norm.eps).rsqrt()
    return factor if norm.weight is None else factor * norm.weight.detach().to("cpu").double()


def _norm(graph: Graph, value: int) -> nn.BatchNorm2d | None:
    """The batch norm whose output a value is."""
    producer = graph.values[value].producer
    node = graph.nodes[producer] if producer is not None else None
    module = graph.modules[node.stack[-1].module] if node is not None and node.stack else None
    return module if isinstance(module, nn.BatchNorm2d) else None


def by_strength(kernel: Doubles) -> NDArray[np.int64]:
    """Inputs of a kernel (c, kh, kw) by falling norm, at most `MOST`; equal ones by their number."""
    norms = np.sqrt((kernel * kernel).sum(axis=(1, 2)))
    return np.argsort(-norms, kind="stable")[:MOST]


def drawn(kernel: Doubles, longest: int) -> draw.Drawn | None:
    """The grid of a kernel (c, kh, kw), at most `longest` pixels a side where its weights get a pixel each.

    None where all weights are 0.
    """
    scale = draw.robust_scale(kernel)
    if not scale:
        return None
    shown = kernel[by_strength(kernel)]
    columns = math.ceil(math.sqrt(len(shown)))
    rows = math.ceil(len(shown) / columns)
    high, wide = shown.shape[1:]
    cell = max(min((longest - rows - 1) // (rows * high), (longest - columns - 1) // (columns * wide)), 1)
    grey = np.rint(127.5 + 127.5 * (np.clip(shown, -scale, scale) / scale)).astype(np.uint8)
    sheet = np.full((rows * (high * cell + 1) + 1, columns * (wide * cell + 1) + 1, 3), LINE, np.uint8)
    for number, values in enumerate(grey):
        top = 1 + number // columns * (high * cell + 1)
        left = 1 + number % columns * (wide * cell + 1)
        block = values.repeat(cell, 0).repeat(cell, 1)[:, :, None]
        sheet[top : top + high * cell, left : left + wide * cell] = block
    return draw.Drawn(draw.encoded(sheet, (sheet.shape[1], sheet.shape[0])), scale)
