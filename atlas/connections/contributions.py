"""The response of a neuron at one position, as the contributions of the maps that its layer reads. They add up.

For a convolution, with patch P of the input under the kernel at the position, and W the kernel with its batch norm
folded:  contribution of map m = Σ over the kernel of W[channel, m] · P[m],  response − bias = Σ over m. For a residual
block the contribution of a branch is its value. One forward pass gives those of all layers; the sums are in float64.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from atlas.arrays import Ints
from atlas.connections import watch
from atlas.connections.apart import Apart, merged
from atlas.network.recorder import flat_of
from atlas.types import Layer

_AT_ONCE = 1 << 22
"""Products that are held at once, about."""
Doubles = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Places:
    """E positions of neurons: `number` of the layer, `row` of the image in the batch, `channel`, `y`, `x`; all (E,)."""

    number: Ints
    row: Ints
    channel: Ints
    y: Ints
    x: Ints

    def of(self, which: Ints) -> Places:
        """Some of them."""
        return Places(*(each[which] for each in (self.number, self.row, self.channel, self.y, self.x)))

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Rows, channels, ys and xs."""
        return tuple(torch.from_numpy(np.ascontiguousarray(e)) for e in (self.row, self.channel, self.y, self.x))  # type: ignore[return-value]


@dataclass(frozen=True, eq=False)
class Parts:
    """Of the examples `which` (E,) of one layer: `contributions` (E, J), `active` (E, J), the mean absolute value of
    each map under the kernel, and `total` (E,), the sum as the network gives it, with its bias; `bias` (E,)."""

    which: Ints
    contributions: Doubles
    active: Doubles
    total: Doubles
    bias: Doubles

    @property
    def error(self) -> Doubles:
        """How far the contributions are from adding up (E,)."""
        return np.asarray(np.abs(self.contributions.sum(1) + self.bias - self.total))


@dataclass(eq=False)
class _Collected:
    """What one layer handed over so far, in double precision."""

    parts: list[Tensor]
    active: list[Tensor]
    total: Tensor | None = None


def placed(aparts: Sequence[Apart], places: Places) -> Places:
    """The same positions as indices into maps: tokens lie in one row, prefix tokens first."""
    y, x = places.y.copy(), places.x.copy()
    for number in np.unique(places.number).tolist():
        layer, of = aparts[number].layer, places.number == number
        if layer.tokens:
            x[of] = flat_of(layer, places.y[of], places.x[of])
            y[of] = 0
    return Places(places.number, places.row, places.channel, y, x)


def contributions(module: nn.Module, aparts: Sequence[Apart], inputs: Tensor, places: Places) -> dict[int, Parts]:
    """The parts of every position, by the number of its layer among `aparts`; one forward pass of `inputs`.

    Positions of layers that cannot be taken apart are left out.
    """
    places = placed(aparts, places)
    of = {n: np.flatnonzero(places.number == n) for n in np.unique(places.number).tolist() if aparts[n].why is None}
    number = {aparts[n].layer.name: n for n in of}
    found = {n: _Collected([], []) for n in of}

    def take(apart: Apart, _which: int, maps: Tensor) -> None:
        n = number[apart.layer.name]
        parts, active = taken(apart, maps, places.of(of[n]), addend=len(found[n].parts))
        found[n].parts.append(parts)
        found[n].active.append(active)

    def take_sum(apart: Apart, maps: Tensor) -> None:
        n = number[apart.layer.name]
        found[n].total = at(maps, places.of(of[n]))

    watch.run(module, [aparts[n] for n in of], inputs, take, take_sum)
    return {n: _finished(aparts[n], of[n], places, each) for n, each in found.items()}


def _finished(apart: Apart, which: Ints, places: Places, found: _Collected) -> Parts:
    assert found.total is not None
    channels = torch.from_numpy(places.channel[which])
    bias = torch.zeros(len(which), dtype=torch.float64) if apart.bias is None else apart.bias[channels]
    parts, active = (each[0] if len(each) == 1 else torch.cat(each, 1) for each in (found.parts, found.active))
    return Parts(which, *(np.asarray(each.numpy()) for each in (parts, active, found.total, bias)))


def at(maps: Tensor, places: Places) -> Tensor:
    """Values (E,) of maps (N, C, h, w), float64."""
    rows, channels, ys, xs = places.tensors()
    return maps[rows, channels, ys, xs].double().cpu()


def taken(apart: Apart, maps: Tensor, places: Places, addend: int = 0) -> tuple[Tensor, Tensor]:
    """Contributions (E, J) and mean absolute values (E, J) of what a layer reads, `maps` (N, C, h, w).

    Of a block's addend: (E, 1) of that branch.
    """
    if apart.addends:
        values = at(maps, places)[:, None]
        return values * apart.addends[addend].factor, values.abs()
    assert apart.weight is not None
    step = max(1, _AT_ONCE // apart.weight[0].numel())
    parts, active = [], []
    padded = _padded(apart, maps)
    for start in range(0, len(places.row), step):
        few = places.of(np.arange(start, min(start + step, len(places.row))))
        patch = _patches(apart, padded, few)  # (E, inputs a group, kernel)
        weight = apart.weight[torch.from_numpy(few.channel)].flatten(2)
        parts.append(merged((weight * patch).sum(2), apart))
        active.append(merged(patch.abs().mean(2), apart))
    return torch.cat(parts), torch.cat(active)


def _padded(apart: Apart, maps: Tensor) -> Tensor:
    return F.pad(maps, apart.padding, apart.padding_mode) if any(apart.padding) else maps


def _patches(apart: Apart, padded: Tensor, places: Places) -> Tensor:
    """What lies under the kernel at each position: (E, inputs a group, kh·kw), float64."""
    assert apart.weight is not None
    rows, channels, ys, xs = places.tensors()
    inputs, height, width = apart.weight.shape[1:]
    down = ys[:, None] * apart.stride[0] + torch.arange(height) * apart.dilation[0]  # (E, kh)
    right = xs[:, None] * apart.stride[1] + torch.arange(width) * apart.dilation[1]  # (E, kw)
    group = channels // (len(apart.weight) // apart.groups)
    of = group[:, None] * inputs + torch.arange(inputs)  # (E, inputs)
    patch = padded[rows[:, None, None, None], of[:, :, None, None], down[:, None, :, None], right[:, None, None, :]]
    return patch.double().cpu().flatten(2)


@dataclass(frozen=True, eq=False)
class Rest:
    """What every layer reads when nothing is to be seen.

    `means`: by layer what it reads, (1, C, h, w) an addend, where every recorded neuron's map is held at its mean.
    `grey`: by layer its sum (1, C, h, w) for an image of the data's mean colour.
    """

    means: Mapping[str, tuple[Tensor, ...]]
    grey: Mapping[str, Tensor]


def rest(
    module: nn.Module, layers: Sequence[Layer], aparts: Sequence[Apart], means: Mapping[str, Tensor],
    shape: tuple[int, int, int], device: torch.device,
) -> Rest:  # fmt: skip
    """Two forward passes of an image of `shape` (C, H, W) that is 0 once normalised: the data's mean colour.

    `means`: by layer the mean of each of its maps (C,) over images and positions. All recorded `layers` are held at
    them at once, so that what any of them reads is what a constant map of its sources becomes on its way.
    """
    dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
    inputs = torch.zeros(1, *shape, device=device, dtype=dtype)
    read: dict[str, tuple[Tensor, ...]] = {}
    grey: dict[str, Tensor] = {}

    def take(apart: Apart, _which: int, maps: Tensor) -> None:
        read[apart.layer.name] = (*read.get(apart.layer.name, ()), maps.clone())

    def take_sum(apart: Apart, maps: Tensor) -> None:
        grey[apart.layer.name] = maps.clone()

    with watch.held(module, layers, means):
        watch.run(module, aparts, inputs.clone(), take, lambda _apart, _maps: None)
    watch.run(module, aparts, inputs.clone(), lambda _apart, _which, _maps: None, take_sum)
    return Rest(read, grey)


def at_rest(apart: Apart, calm: Rest, places: Places) -> tuple[Doubles, Doubles]:
    """Contributions (E, J) of the maps held at their means, and the sums (E,) for the mean colour, at `places`."""
    there = placed([apart], replace(places, number=np.zeros_like(places.number)))
    here = replace(there, row=np.zeros_like(places.row))
    parts = [taken(apart, maps, here, n)[0] for n, maps in enumerate(calm.means[apart.layer.name])]
    return np.asarray(torch.cat(parts, 1).numpy()), np.asarray(at(calm.grey[apart.layer.name], here).numpy())
