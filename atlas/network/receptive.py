"""Receptive fields: what every value of a graph sees of the input, and the field of a layer.

The rules are in `operations` and `rearranging`, the arithmetic in `geometry`. Behind a flatten, a global or an adaptive
pool, attention, or an operation that cannot be followed, a value sees the whole input: that is always true, and the
reason is kept.
"""

from __future__ import annotations

from atlas.network import geometry
from atlas.network import rearranging as rearranging  # its rules are registered as it is loaded
from atlas.network.geometry import Maps, RefusalError, Seen, Whole
from atlas.network.graph import PARTIAL_WRITE, Graph, Node
from atlas.network.operations import CONSTANT, RULES, Context, pointwise
from atlas.types import Axis, Field

Sight = dict[int, Seen]
"""By value: what it sees."""
BLIND = "does not depend on the image"


def see(graph: Graph) -> Sight:
    """What every value sees of the input."""
    found: Sight = {value.id: None for value in graph.values if value.producer is None}
    found[graph.input] = geometry.image(graph.values[graph.input].shape)
    for node in graph.nodes:
        try:
            results = _apply(graph, node, [found[value] for value in node.inputs])
        except RefusalError as error:
            named = str(error) if error.named else f"{node.op} in {node.where} {error}"
            results = [Whole(named)] * len(node.outputs)
        found.update(zip(node.outputs, results, strict=True))
    return found


def _apply(graph: Graph, node: Node, inputs: list[Seen]) -> list[Seen]:
    count = len(node.outputs)
    if all(each is None for each in inputs) or node.op in CONSTANT:
        return [None] * count
    if not any(isinstance(each, Maps) for each in inputs):
        return [next(each for each in inputs if isinstance(each, Whole))] * count
    rule = RULES.get(node.op, pointwise if node.pointwise else None)
    if rule is None:
        raise RefusalError("cannot be followed" if node.op != PARTIAL_WRITE else "changes part of a map through a view")
    result = rule(Context(graph, node, dict(zip(node.inputs, inputs, strict=True))))
    results = list(result) if isinstance(result, list) else [result] * count
    return [_named(node, result, inputs) for result in results]


def _named(node: Node, result: Seen, inputs: list[Seen]) -> Seen:
    """With the operation and the module that made a value see everything, where this node did."""
    if not isinstance(result, Whole) or any(result is each for each in inputs):
        return result
    return Whole(f"{node.op} in {node.where} {result.why}")


def field_of(graph: Graph, sight: Sight, value: int, channel_axis: int = 1) -> tuple[Field, str | None]:
    """The field of a recorded value, the hull over its channels, and why it is the whole input, or None.

    Where a channel sees the whole input, the layer does. Raises `RefusalError` where the value does not depend on the
    image.
    """
    found, shape = sight[value], graph.values[value].shape
    height, width = graph.values[graph.input].shape[2:]
    everything = Field(Axis(height, 0, 0), Axis(width, 0, 0), global_field=True)
    if found is None:
        raise RefusalError(BLIND)
    if isinstance(found, Whole):
        return everything, found.why
    if not found.whole.all() and bool((found.low[0] >= found.high[0]).all()):
        raise RefusalError(BLIND)
    if found.dims != ((2, 3) if channel_axis == 1 else (1, 2)) or len(shape) != 4:
        return everything, "its positions are not (y, x) of a map"
    if found.whole.any():
        return everything, "some of its channels see the whole input"
    y, x = (
        Axis(int(high.max() - low.min()), stride, int(low.min()))
        for low, high, stride in zip(found.low, found.high, found.stride, strict=True)
    )
    if found.gated.any():
        return Field(y, x, global_field=True, gated=True), "a gate sees the whole input"
    return Field(y, x), None
