"""Pictures in input space made backwards from one neuron at one position: deconvnet, guided, gradient.

The network runs forward once, to the layer and no further; each kind is one way back through the same graph, with its
rule at the rectifiers (`atlas.explain.rules`). Many examples run together on aligned crops of one shape
(`atlas.explain.aligned`), in batches whose sizes the examples alone decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from atlas.errors import NetworkError
from atlas.explain.aligned import Crop, Geometry, Images
from atlas.explain.kinds import BY_NAME
from atlas.explain.rules import RULES, Rules
from atlas.explain.stop import StopAt
from atlas.explain.stop import as_in_a_run as as_in_a_run
from atlas.network.recorder import values_at
from atlas.types import Layer


class Drawer(Protocol):
    """What the module that `Kind.drawn_by` names holds."""

    def draw(
        self, module: nn.Module, layer: Layer, inputs: Tensor, at: tuple[Tensor, Tensor, Tensor], seeds: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Values (N,) of `layer` at `at` = channels, y, x (N,) each, and a map (N, 3, h, w) over `inputs`.

        `inputs` (N, 3, h, w) is what the network reads, `seeds` (N,) is 1, or −1 for a smallest response. The network
        is in eval mode and its parameters ask for no gradient.
        """

    def why_not(self, module: nn.Module, layer: Layer, inputs: Tensor) -> str | None:
        """Why the kind is not defined for the network up to `layer`, or None; `inputs` (1, 3, H, W) any image."""


def drawer(kind: str) -> Drawer:
    """The module that draws a kind which is not a way back through rectifiers."""
    return import_module(BY_NAME[kind].drawn_by)


def _backward(
    module: nn.Module,
    layer: Layer,
    inputs: Tensor,
    at: tuple[Tensor, Tensor, Tensor],
    kinds: Sequence[str],
    seeds: Tensor,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Values (N,) of the layer at `at` = channels, y, x (N,) each, and a map (N, 3, h, w) a kind."""
    ruled = [kind for kind in kinds if kind in RULES]
    values, found = _by_rules(module, layer, inputs, at, ruled, seeds) if ruled else (None, {})
    for kind in kinds:
        if kind not in RULES:
            values, found[kind] = drawer(kind).draw(module, layer, inputs, at, seeds)
    assert values is not None, "no kind was asked for"
    return values, {kind: found[kind] for kind in kinds}


def _by_rules(
    module: nn.Module,
    layer: Layer,
    inputs: Tensor,
    at: tuple[Tensor, Tensor, Tensor],
    kinds: Sequence[str],
    seeds: Tensor,
) -> tuple[Tensor, dict[str, Tensor]]:
    """`_backward` for the kinds of `RULES`: one forward pass serves all of them."""
    strict = any(not RULES[kind].linear for kind in kinds)
    with torch.inference_mode(False), torch.enable_grad(), StopAt(module, layer) as stop:
        # Tensors made in inference mode cannot take part in differentiation: copies can.
        at, seeds = (at[0].clone(), at[1].clone(), at[2].clone()), seeds.clone()
        leaf = (inputs.clone() if inputs.is_inference() else inputs.detach()).requires_grad_(True)
        # A copy of the input: a network may write into it, which a leaf refuses.
        with Rules(module, strict) as rules:
            output = stop(leaf.clone())
        if rules.overwritten:
            with Rules(module, strict, copies=True) as rules:
                output = stop(leaf.clone())
        values = values_at(layer, output, *at)  # (N,)
        maps = {}
        for number, kind in enumerate(kinds):
            rules.rule = RULES[kind]
            maps[kind] = torch.autograd.grad(
                values, leaf, seeds.to(values), retain_graph=number + 1 < len(kinds), materialize_grads=True
            )[0]
        return values.detach(), maps


class Responses:
    """A context that gives a layer's values without a way back; runs no further than the layer."""

    def __init__(self, module: nn.Module, layer: Layer) -> None:
        self._layer, self._stop = layer, StopAt(module, layer)

    def __enter__(self) -> Responses:
        self._stop.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.__exit__(kind, error, trace)

    @torch.no_grad()
    def maps(self, inputs: Tensor) -> Tensor:
        """The layer's output (N, C, h, w) for `inputs` (N, 3, H, W), which the network may write into."""
        return self._stop(inputs).float() if inputs.dtype != torch.float64 else self._stop(inputs)

    def at(self, inputs: Tensor, places: Sequence[tuple[int, int, int]]) -> list[float]:
        """The values at `places` (channel, y, x), one an input."""
        channels, ys, xs = torch.tensor(places, device=inputs.device).unbind(1)
        values = values_at(self._layer, self.maps(inputs), channels, ys, xs)
        return [float(value) for value in values.cpu().numpy()]


def refusal(module: nn.Module, layer: Layer, inputs: Tensor) -> str | None:
    """Why deconvnet and guided are not defined for the network up to `layer`, or None; `inputs` (N, 3, H, W) any."""
    try:
        with as_in_a_run(module), torch.enable_grad(), StopAt(module, layer) as stop, Rules(module, strict=True):
            stop(inputs.detach().clone().requires_grad_(True).clone())
    except NetworkError as error:
        return str(error)
    return None


def proven(module: nn.Module, layer: Layer, found: Geometry, inputs: Tensor, tolerance: float = 1e-3) -> Geometry:
    """`found`, or always the whole image, where a crop does not give what the whole of `inputs` (1, 3, H, W) gives.

    Networks that count on one input size (an adaptive pool that is no identity on a crop, an embedding of positions)
    are met here. `tolerance` is a share of the layer's scale. Positions: the first, a middle and the last of each axis.
    """
    if found == found.whole():
        return found
    with as_in_a_run(module), Responses(module, layer) as responses:
        expected = responses.maps(inputs.clone())[0]  # (C, h, w)
        limit = tolerance * max(float(expected.std()), 1e-30)
        height, width = expected.shape[1:]
        for y in sorted({0, height // 2, height - 1}):
            for x in sorted({0, width // 2, width - 1}):
                crop = found.crop(y, x)
                part = inputs[:, :, crop.top : crop.top + crop.height, crop.left : crop.left + crop.width].clone()
                try:
                    got = responses.maps(part)[0, :, crop.y, crop.x]
                except (RuntimeError, IndexError, ValueError, AssertionError, NetworkError):
                    return found.whole()
                if float((got - expected[:, y, x]).abs().max()) > limit:
                    return found.whole()
    return found


def project(
    module: nn.Module, layer: Layer, inputs: Tensor, positions: Tensor, channels: Tensor, kinds: Sequence[str],
    seeds: Tensor,
) -> dict[str, Tensor]:  # fmt: skip
    """One map (N, 3, h, w) a kind: what goes back to `inputs` (N, 3, h, w) from one neuron each.

    `positions` (N, 2) are y and x in the layer's map for these inputs, `channels` (N,), `seeds` (N,) what the way back
    starts with: 1, or −1 for a smallest response. The network is left as it was. Raises `NetworkError` where deconvnet
    or guided is asked for and the network bends the signal otherwise than by a rectifier.
    """
    at = (channels, positions[:, 0], positions[:, 1])
    with as_in_a_run(module):
        return _backward(module, layer, inputs, at, kinds, seeds)[1]


@dataclass(frozen=True)
class Example:
    """What a picture is wanted of: row of the images, channel, position in the whole image's map, 1 or −1 (min)."""

    image: int
    channel: int
    y: int
    x: int
    sign: int = 1


@dataclass(frozen=True)
class Projected:
    """The maps of example number `index`, float32 (3, h, w) on exactly its field's box, 0 outside the image."""

    index: int
    crop: Crop
    response: float
    maps: Mapping[str, NDArray[np.float32]]


def batches(
    examples: Iterable[tuple[int, Example]], geometry: Geometry, size: int
) -> Iterator[list[tuple[int, Example, Crop]]]:
    """The examples by crop shape, each list of one shape and no longer than `size`; shapes from small to large."""
    shapes: dict[tuple[int, int], list[tuple[int, Example, Crop]]] = {}
    for index, example in examples:
        crop = geometry.crop(example.y, example.x)
        shapes.setdefault((crop.height, crop.width), []).append((index, example, crop))
    for shape in sorted(shapes):
        group = shapes[shape]
        for start in range(0, len(group), size):
            yield group[start : start + size]


def shared_rows(size: int) -> int:
    """Rows of a call that different examples share: a quarter of the batch, whatever there is to do.

    Kernels change their last bits with the rows of a call, but not with what else is in them: so an example's picture
    depends on the example alone, not on which others are drawn in its chunk. On a CPU 4 rows are as fast as 16 where
    fields are large, which is where the time goes (SqueezeNet at 107 and 155 px: 23.5 and 51 ms an example, 27 and 67).
    """
    return max(size // 4, 1)


def rows_for(count: int, size: int) -> int:
    """Rows of a call for `count` ≤ `size` variants of one example: `size`, halved while they still fit."""
    rows = size
    while rows % 2 == 0 and rows // 2 >= count:
        rows //= 2
    return rows


def project_examples(
    module: nn.Module, layer: Layer, geometry: Geometry, images: Images, examples: Sequence[Example],
    kinds: Sequence[str], batch_size: int,
) -> Iterator[Projected]:  # fmt: skip
    """The maps of all `examples` of a layer, a batch at a time, in an order that depends on the examples alone.

    Every call of the network has `shared_rows` rows; missing ones are filled and dropped. With a kind that needs the
    whole image, whole images are run. Raises as `project` does.
    """
    geometry = geometry.whole() if any(BY_NAME[kind].whole for kind in kinds) else geometry
    with as_in_a_run(module):
        count = shared_rows(batch_size)
        for group in batches(enumerate(examples), geometry, count):
            inputs = images.cut([(e.image, crop) for _, e, crop in group], count)  # (B, 3, h, w)
            rows = group + [group[0]] * (count - len(group))
            channels, ys, xs, seeds = (
                torch.tensor(column, device=inputs.device)
                for column in zip(*((e.channel, crop.y, crop.x, e.sign) for _, e, crop in rows), strict=True)
            )
            values, maps = _backward(module, layer, inputs, (channels, ys, xs), kinds, seeds)
            responses = values.double().cpu().numpy()
            arrays = {kind: m.cpu().numpy() for kind, m in maps.items()}
            for row, (index, _, crop) in enumerate(group):
                yield Projected(
                    index, crop, float(responses[row]),
                    {kind: on_field(a[row], crop, images.height, images.width) for kind, a in arrays.items()},
                )  # fmt: skip


def on_field(crop_map: NDArray[Any], crop: Crop, height: int, width: int) -> NDArray[Any]:
    """A map (3, h, w) of a crop, laid on its field's box (3, field height, field width), 0 outside the image."""
    out = np.zeros((crop_map.shape[0], crop.field_height, crop.field_width), crop_map.dtype)
    rows, columns, crop_rows, crop_columns = crop.inside(height, width)
    out[:, rows, columns] = crop_map[:, crop_rows, crop_columns]
    return out
