"""Receptive fields: what every value of a graph sees of the input, and the field of a layer.

The rules are in `operations`, the arithmetic in `geometry`. What has no rule is refused by name, and only where a field
is asked for; behind a flatten, a global or an adaptive pool a value sees the whole input, whatever came before.
"""

from __future__ import annotations

from math import prod

from atlas.errors import GeometryError
from atlas.network import geometry
from atlas.network.geometry import Maps, RefusalError, Seen, Whole
from atlas.network.graph import PARTIAL_WRITE, Graph, Node
from atlas.network.operations import CONSTANT, RULES, Context, pointwise
from atlas.types import Axis, Field

Sight = dict[int, Seen | RefusalError]
"""By value: what it sees, or why that is not one box of one stride."""


def see(graph: Graph) -> Sight:
    """What every value sees of the input."""
    found: Sight = {value.id: None for value in graph.values if value.producer is None}
    found[graph.input] = geometry.image(graph.values[graph.input].shape)
    for node in graph.nodes:
        try:
            results: list[Seen | RefusalError] = [
                *_apply(graph, node, [_allowed(found[value]) for value in node.inputs])
            ]
        except RefusalError as error:
            named = error if error.named else RefusalError(f"{node.op} in {node.where} {error}", named=True)
            results = [Whole() if _single(graph, value) else named for value in node.outputs]
        found.update(zip(node.outputs, results, strict=True))
    return found


def _allowed(sight: Seen | RefusalError) -> Seen:
    if isinstance(sight, RefusalError):
        raise sight
    return sight


def _single(graph: Graph, value: int) -> bool:
    """Whether a value has one number a channel: no positions are left, so the whole input is what it may see."""
    return prod(graph.values[value].shape[2:]) == 1


def _apply(graph: Graph, node: Node, inputs: list[Seen]) -> list[Seen]:
    count = len(node.outputs)
    if all(each is None for each in inputs) or node.op in CONSTANT:
        return [None] * count
    if not any(isinstance(each, Maps) for each in inputs):
        return [Whole()] * count
    rule = RULES.get(node.op, pointwise if node.pointwise else None)
    if rule is None:
        raise RefusalError("cannot be followed" if node.op != PARTIAL_WRITE else "changes part of a map through a view")
    result = rule(Context(graph, node, dict(zip(node.inputs, inputs, strict=True))))
    return list(result) if isinstance(result, list) else [result] * count


def field_of(graph: Graph, sight: Sight, value: int, layer: str, channel_axis: int = 1) -> Field:
    """The field of a recorded value (1, C, H, W), (1, H, W, C) or (1, C): the hull over its channels.

    Where a channel sees the whole input, the layer does. Raises `GeometryError` naming the layer, and the operation and
    the module that cannot be followed.
    """
    found, shape = sight[value], graph.values[value].shape
    height, width = graph.values[graph.input].shape[2:]
    everything = Field(Axis(height, 0, 0), Axis(width, 0, 0), global_field=True)
    if isinstance(found, RefusalError):
        raise _refuse(layer, str(found))
    if isinstance(found, Whole):
        return everything
    if found is None:
        raise _refuse(layer, "it does not depend on the image")
    if found.dims != ((2, 3) if channel_axis == 1 else (1, 2)) or len(shape) != 4:
        raise _refuse(layer, "its positions are not (y, x) of a map")
    if found.whole.any():
        return everything
    y, x = (
        Axis(int(high.max() - low.min()), stride, int(low.min()))
        for low, high, stride in zip(found.low, found.high, found.stride, strict=True)
    )
    if min(y.size, x.size) <= 0:
        raise _refuse(layer, "it does not depend on the image")
    return Field(y, x)


def _refuse(layer: str, why: str) -> GeometryError:
    return GeometryError(
        f"layer {layer}: it has no receptive field of one box and stride: {why}; use --exclude {layer}"
    )
