"""Class saliency (Simonyan et al. 2014): M = max over colours of |∂S_c/∂I|, of the score before any last rectifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from atlas.connections import origins
from atlas.explain.backward import as_in_a_run
from atlas.network.candidates import find_candidates
from atlas.network.graph import Graph
from atlas.network.recorder import as_maps

SMOOTH = 32
"""A map is smoothed by a Gaussian of 1 ÷ this of its side before it is thresholded by itself."""
_ON_THE_WAY = frozenset(
    (
        *("relu", "relu6", "hardtanh", "clamp", "clamp_min", "threshold", "mean", "avg_pool2d", "adaptive_avg_pool2d"),
        *("_adaptive_avg_pool2d", "view", "_unsafe_view", "reshape", "_reshape_alias", "flatten", "squeeze"),
        *("as_strided", "clone", "detach", "alias", "contiguous", "dropout"),
    )
)
"""What may lie between the layer that scores the classes and the logits."""


@dataclass(frozen=True)
class Score:
    """Where the class scores are taken: the output of a module's call, averaged over positions; None: the logits."""

    module: str | None
    call: int = 1
    channel_axis: int = 1


def score_of(graph: Graph) -> Score:
    """The last layer, where nothing but pools and rectifiers lie behind it, and a rectifier does; else the logits.

    A rectifier behind the scores leaves every photograph whose score is negative without a gradient.
    """
    layers = {each.value: each for each in find_candidates(graph)}
    value, rectified = graph.output, False
    while value not in layers:
        node = graph.producer(value)
        if node is None or origins.name(node) not in _ON_THE_WAY or len(node.inputs) != 1:
            return Score(None)
        rectified |= origins.name(node) in ("relu", "relu6", "hardtanh", "clamp", "clamp_min", "threshold")
        value = node.inputs[0]
    layer, shape = layers[value], graph.values[value].shape
    axis = 1 if layer.kind == "conv" else len(shape) - 1
    if not rectified or layer.function or shape[axis] != graph.values[graph.output].shape[-1]:
        return Score(None)
    return Score(layer.hook.module, layer.hook.number, axis)


@dataclass(frozen=True, eq=False)
class Scored:
    """Of a batch of N images: `logits` (N, classes), and for each list of classes asked a map a row (N, H, W).

    `cams`: likewise their class activation maps (N, H, W), where the scores are taken from maps; else None.
    """

    logits: NDArray[np.float32]
    maps: list[NDArray[np.float32]]
    cams: list[NDArray[np.float32] | None]


def saliency(module: nn.Module, score: Score, inputs: Tensor, asked: Sequence[Tensor | None]) -> Scored:
    """One forward pass of `inputs` (N, C, H, W), and a backward one for each of `asked`: classes (N,), or None for the
    predicted ones. The network is left as it was."""
    kept: list[Tensor] = []
    spatial: list[Tensor] = []
    calls = 0

    def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        nonlocal calls
        calls += 1
        if calls == score.call:
            found = as_maps(output, score.channel_axis)
            kept.append(found.mean((2, 3)))
            spatial.append(found.detach().clone())

    handle = None if score.module is None else module.get_submodule(score.module).register_forward_hook(keep)
    try:
        with as_in_a_run(module), torch.inference_mode(False), torch.enable_grad():
            leaf = inputs.detach().clone().requires_grad_(True)
            logits = module(leaf.clone())  # a copy: a network may write into its input, which a leaf refuses
            scores = kept[0] if kept else logits
            rows = torch.arange(len(inputs), device=inputs.device)
            maps: list[NDArray[np.float32]] = []
            cams: list[NDArray[np.float32] | None] = []
            for number, wanted in enumerate(asked):
                classes = logits.argmax(1) if wanted is None else wanted.to(inputs.device)
                total = scores[rows, classes].sum()
                (slope,) = torch.autograd.grad(total, leaf, retain_graph=number + 1 < len(asked))
                maps.append(slope.abs().amax(1).float().cpu().numpy())
                cams.append(_cam(spatial[0][rows, classes], inputs) if spatial else None)
    finally:
        if handle is not None:
            handle.remove()
    return Scored(logits.detach().float().cpu().numpy(), maps, cams)


def _cam(maps: Tensor, inputs: Tensor) -> NDArray[np.float32] | None:
    """Maps of a class (N, h, w), what is above 0 of them, enlarged to the input: where scores are means of maps, that
    is Grad-CAM (Selvaraju et al. 2017, appendix A: it generalises CAM, Zhou et al. 2016)."""
    if maps.shape[1] * maps.shape[2] <= 1:
        return None
    coarse = F.relu(maps)[:, None].float()
    large = F.interpolate(coarse, inputs.shape[-2:], mode="bilinear", align_corners=False)
    return np.asarray(large[:, 0].cpu().numpy())


@torch.no_grad()
def scores(module: nn.Module, score: Score, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Class scores, before any last rectifier, and probabilities (N, classes) each."""
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        kept.append(as_maps(output, score.channel_axis).mean((2, 3)))

    handle = None if score.module is None else module.get_submodule(score.module).register_forward_hook(keep)
    try:
        with as_in_a_run(module):
            logits = module(inputs.clone())
    finally:
        if handle is not None:
            handle.remove()
    return (kept[score.call - 1] if kept else logits), logits.float().softmax(1)


def smooth(values: NDArray[Any]) -> NDArray[np.float32]:
    """A map (H, W) as it is thresholded by itself: gradients are speckled."""
    return np.asarray(ndimage.gaussian_filter(values.astype(np.float32), min(values.shape) / SMOOTH), np.float32)
