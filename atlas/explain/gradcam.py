"""Grad-CAM (Selvaraju et al. 2017): where the maps that a neuron reads are active, each weighed by its mean gradient.

L = ReLU(Σ_k α_k A_k), α_k = mean over the positions of A_k of ∂response/∂A_k (equations 1 and 2), enlarged to the input
without corners aligned. A are the maps of the nearest layer before the neuron's whose maps are larger than 1 × 1 and
reach the neuron: for a class score the last such layer, as in the paper. Tokens are a map of their patches; prefix
tokens have no place, and are left out. Where what is nearest has no gradient at its patches (after the last attention
of a network that reads its class token alone), the layer before it is taken.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atlas.errors import NetworkError
from atlas.network.candidates import find_candidates
from atlas.network.graph import Graph, trace
from atlas.network.layers import layers_of
from atlas.network.recorder import Recorder, maps_of, values_at
from atlas.types import Layer

WHY_NONE = "no layer before this one has a map larger than 1 x 1 that reaches it"


@dataclass
class _Known:
    """A traced network: its layers in forward order, the values that they are, and what was found for a layer."""

    size: torch.Size
    graph: Graph
    layers: list[Layer]
    values: dict[str, int]
    sources: dict[str, Layer | None] = field(default_factory=dict)


_known: WeakKeyDictionary[nn.Module, _Known] = WeakKeyDictionary()


def source_of(module: nn.Module, layer: Layer, inputs: Tensor) -> Layer | None:
    """The layer whose maps are weighed for neurons of `layer`, or None; `inputs` (N, C, H, W) of the network's size."""
    known = _known.get(module)
    if known is None or known.size != inputs.shape[1:]:
        graph = trace(module, inputs[:1])
        values = {candidate.name: candidate.value for candidate in find_candidates(graph)}
        known = _known[module] = _Known(inputs.shape[1:], graph, layers_of(graph), values)
        graph.modules = {}  # or what is kept would keep the network
    if layer.name not in known.sources:
        known.sources[layer.name] = _nearest(module, known, layer, inputs[:1])
    return known.sources[layer.name]


def _nearest(module: nn.Module, known: _Known, layer: Layer, inputs: Tensor) -> Layer | None:
    graph, end = known.graph, known.values[layer.name]
    until = graph.order(end)
    for each in reversed(known.layers):
        value = known.values[each.name]
        after = graph.order(value) + 1
        if after > until or each.height * each.width <= 1:
            continue
        if end in graph.reached(value, after, until + 1) and bool(_gradients(module, each, layer, inputs)[1].any()):
            return each
    return None


def why_not(module: nn.Module, layer: Layer, inputs: Tensor) -> str | None:
    """Why there is no map to weigh for `layer`, or None; `inputs` (N, C, H, W) of the network's size."""
    return WHY_NONE if source_of(module, layer, inputs) is None else None


def draw(
    module: nn.Module, layer: Layer, inputs: Tensor, at: tuple[Tensor, Tensor, Tensor], seeds: Tensor
) -> tuple[Tensor, Tensor]:
    """Values (N,) of `layer` at `at` = channels, y, x (N,) each, and the heat (N, 3, h, w), from 0, over `inputs`.

    `inputs` are whole images: α is a mean over all of them. The three colours are alike. `seeds` (N,): 1, or −1 for a
    smallest response. The network is in eval mode already. Raises `NetworkError` where no layer has a map for it.
    """
    source = source_of(module, layer, inputs)
    if source is None:
        raise NetworkError(f"gradcam of {layer.name}: {WHY_NONE}; leave it out (--projections lrp)")
    values, gradient, maps = _gradients(module, source, layer, inputs, at, seeds)
    alpha = gradient.mean((2, 3), keepdim=True)  # (N, C, 1, 1)
    coarse = F.relu((alpha * maps).sum(1, keepdim=True))
    heats = F.interpolate(coarse, inputs.shape[-2:], mode="bilinear", align_corners=False)
    return values, heats.expand(-1, 3, -1, -1)


def _gradients(
    module: nn.Module, source: Layer, layer: Layer, inputs: Tensor,
    at: tuple[Tensor, Tensor, Tensor] | None = None, seeds: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Values of `layer` (N,), their gradient at the patches of `source` (N, C, h, w), and its maps there.

    Without `at` the value is the sum over the layer's squares.
    """
    found: dict[str, Tensor] = {}
    edges: list[Any] = []

    def take(which: Layer, output: Tensor) -> None:
        if which.name == source.name and not edges:
            # The edge, and a copy: what follows may write into the output, and then it is another tensor's gradient.
            edges.append(torch.autograd.graph.get_gradient_edge(output))
            found["maps"] = output.detach().clone()
        if which.name == layer.name:
            found["value"] = maps_of(layer, output)

    with torch.inference_mode(False), torch.enable_grad():
        leaf = (inputs.clone() if inputs.is_inference() else inputs.detach()).requires_grad_(True)
        with Recorder(module, [source, layer], take, stop=True, raw=True) as recorder:
            recorder.run(leaf.clone())
        if at is None or seeds is None:
            values, seeds = found["value"].square().flatten(1).sum(1), torch.ones(len(inputs))
        else:
            values = values_at(layer, found["value"], at[0].clone(), at[1].clone(), at[2].clone())
        back = torch.autograd.grad(values, edges, seeds.clone().to(values), allow_unused=True)[0]
    maps = found["maps"]
    gradient = torch.zeros_like(maps) if back is None else back
    return values.detach(), _patches(source, gradient), _patches(source, maps)


def _patches(layer: Layer, output: Tensor) -> Tensor:
    """The maps (N, C, h, w) of an output; of tokens those of the patches, on their grid."""
    maps = maps_of(layer, output)
    if not layer.tokens:
        return maps
    return maps[:, :, 0, layer.prefix_tokens :].unflatten(2, (layer.height, layer.width))  # type: ignore[no-untyped-call, no-any-return]
