"""Does a kind of picture depend on the network's weights? (Adebayo et al. 2018, Sanity checks for saliency maps.)

The pictures of some neurons are drawn once more, of the same image at the same position, after weights were randomised:
the values of each parameter tensor are permuted (a batch norm's running statistics are kept, so that activations stay
within reach), and the two pictures are compared. What is randomised:

own      the parameters of the neuron's own layer: its convolution and the batch norm fused into it, or the whole block
cascade  those of its own layer and of all that feeds it, down to the input
all      those of the whole network

What lies above a layer changes nothing in its pictures, so one network, all its tensors permuted, serves the cascades
of all layers, and `all` is a second draw of the same kind. Deviations from the paper: it starts at the logits and asks
for the class score; here each layer's own neurons are asked. It draws new weights from the initial distribution in its
cascade; permuted values keep every tensor's distribution. A picture that is empty after the randomisation is as unlike
the first as can be: its similarity is 0. A neuron whose first picture is empty is left out.

The verdict (`words`) rests on signed values. Absolute ones stay alike for every kind, the gradient too (0.89 to 0.93 on
SqueezeNet 1.0, all weights permuted): any network weighs the middle of a field more than its rim.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from atlas.explain.aligned import Images
from atlas.explain.backward import Example, project_examples
from atlas.explain.prepared import Prepared, prepare
from atlas.explain.similarity import MEASURES, Picture, compare
from atlas.images import decode
from atlas.tables.network import SANITY
from atlas.types import Layer

RANDOMISED = ("own", "cascade", "all")
NEURONS = 8
"""Neurons a layer."""
SAME, ALIKE = 0.7, 0.35
"""Median rank correlation of signed values, all weights permuted, from which a kind's pictures hardly change, and from
which they keep much; below, they are other pictures."""


def choose(examples: pa.Table, layers: Sequence[Layer], seed: int, per_layer: int = NEURONS) -> pa.Table:
    """The examples to be drawn again: of `per_layer` random neurons a layer the strongest, if it is driven.

    `examples` by the table `examples`, in any order. The neurons are those with the smallest hashes of (seed, layer,
    channel); the rows come by layer, then by channel.
    """
    side, rank = examples.column("side").to_pylist(), examples.column("rank").to_pylist()
    names, channels = examples.column("layer").to_pylist(), examples.column("channel").to_pylist()
    driven = pc.greater(examples.column("response"), examples.column("reference")).to_pylist()
    first: dict[str, list[tuple[bytes, int, int]]] = {layer.name: [] for layer in layers}
    for row in range(len(examples)):
        if side[row] == "max" and rank[row] == 0 and driven[row] and names[row] in first:
            first[names[row]].append((_hash(seed, names[row], channels[row]), channels[row], row))
    rows = [row for found in first.values() for _, row in sorted(each[1:] for each in sorted(found)[:per_layer])]
    return examples.take(pa.array(rows, pa.int64()))


def read_inputs(
    bodies: Mapping[int, bytes], preprocessing: decode.Preprocessing
) -> tuple[list[int], NDArray[np.uint8]]:
    """Numbers and network inputs (M, H, W, 3) of images, given as files by image_id. Raises `ImageError`."""
    ids = sorted(bodies)
    inputs = [decode.to_input(decode.decode(bodies[image_id]), preprocessing) for image_id in ids]
    return ids, np.stack(inputs) if inputs else np.zeros(
        (0, preprocessing.crop, preprocessing.crop, preprocessing.channels), np.uint8
    )


def sanity_rows(
    module: nn.Module, layers: Sequence[Layer], chosen: pa.Table, image_ids: Sequence[int], images: Images,
    kinds: Sequence[str], batch_size: int, seed: int,
) -> pa.Table:  # fmt: skip
    """The rows of the table `sanity`: medians over the chosen neurons of how alike pictures are before and after.

    `image_ids` (M,) names the rows of `images`. Kinds that are not defined for a layer, and layers whose field is one
    pixel or whose pictures are empty, have no rows. The network's weights are put back bit for bit, also after an
    exception.
    """
    place = {image_id: row for row, image_id in enumerate(image_ids)}
    asked: dict[str, list[Example]] = {}
    for row in chosen.select(["layer", "channel", "image_id", "y", "x"]).to_pylist():
        asked.setdefault(row["layer"], []).append(Example(place[row["image_id"]], row["channel"], row["y"], row["x"]))
    tested = [layer for layer in layers if layer.name in asked]
    prepared = {layer.name: prepare(module, layer, images, kinds) for layer in tested}
    before: dict[str, list[dict[str, Picture]]] = {}
    found: dict[tuple[str, str, str], list[dict[str, float]]] = {}

    def draw(layer: Layer) -> list[dict[str, Picture]]:
        return _pictures(module, layer, prepared[layer.name], images, asked[layer.name], kinds, batch_size)

    def test(layer: Layer, how: str) -> None:
        for old, new in zip(before[layer.name], draw(layer), strict=True):
            for kind, picture in old.items():
                if not picture.empty:
                    found.setdefault((layer.name, kind, how), []).append(compare(picture, new[kind]))

    for layer in tested:
        before[layer.name] = draw(layer)
        with randomised(module, own_parameters(module, layer), seed, "own"):
            test(layer, "own")
    everything = [name for name, _ in module.named_parameters()]
    for how in ("cascade", "all"):
        with randomised(module, everything, seed, how):
            for layer in tested:
                test(layer, how)
    rows = [
        {"layer": layer.name, "kind": kind, "randomised": how, "measure": measure,
         "neurons": len(each), "similarity": float(np.median([e[measure] for e in each]))}
        for layer in tested for kind in kinds for how in RANDOMISED
        if (each := found.get((layer.name, kind, how))) for measure in MEASURES
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=SANITY.columns)


def _pictures(
    module: nn.Module, layer: Layer, prepared: Prepared, images: Images, examples: Sequence[Example],
    kinds: Sequence[str], batch_size: int,
) -> list[dict[str, Picture]]:  # fmt: skip
    """For each example its picture of each kind, over the field's pixels inside the image."""
    out: list[dict[str, Picture]] = [{} for _ in examples]
    defined = prepared.kinds(kinds)
    for each in project_examples(module, layer, prepared.crops, images, examples, defined, batch_size):
        rows, columns, _, _ = each.crop.inside(images.height, images.width)
        out[each.index] = {kind: Picture.of(values[:, rows, columns]) for kind, values in each.maps.items()}
    return out


def own_parameters(module: nn.Module, layer: Layer) -> list[str]:
    """Names of a layer's parameters: of its convolution and the batch norm fused into it, or of the whole block."""
    inside = [layer.name.rpartition("@")[0] or layer.name, layer.module]
    return [
        name
        for name, _ in module.named_parameters()
        if any(name.startswith(f"{each}.") for each in dict.fromkeys(inside))
    ]


@contextmanager
def randomised(module: nn.Module, names: Sequence[str], seed: int, how: str) -> Iterator[None]:
    """The module with the values of the named parameters permuted, each by (seed, how, name); then as it was."""
    parameters = dict(module.named_parameters())
    kept: dict[str, Tensor] = {}
    try:
        with torch.no_grad():
            for name in names:
                kept[name] = parameters[name].detach().clone()
                parameters[name].copy_(permuted(kept[name], _hash(seed, how, name)))
        yield
    finally:
        with torch.no_grad():
            for name, values in kept.items():
                parameters[name].copy_(values)


def permuted(values: Tensor, token: bytes) -> Tensor:
    """The same values in another order, which `token` alone decides; on the CPU."""
    flat = values.to("cpu", copy=True).contiguous().view(-1)
    random = np.random.default_rng(int.from_bytes(token, "little"))
    whole = {2: torch.int16, 4: torch.int32, 8: torch.int64}[flat.element_size()]  # numpy knows no bfloat16
    random.shuffle(flat.view(whole).numpy())  # in place
    return flat.view(values.shape)


def _hash(*parts: object) -> bytes:
    return hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=16).digest()


def words(table: pa.Table) -> list[str]:
    """A sentence a kind, of the table `sanity`: whether its pictures tell of this network, by `SAME` and `ALIKE`."""
    lines = []
    for kind in dict.fromkeys(table.column("kind").to_pylist()):
        found = {how: _middle(table, kind, how) for how in RANDOMISED}
        last = found["all"]
        if last is None:
            continue
        if last >= SAME:
            verdict = "draws edges of the image whatever the weights are: it says little about this network"
        elif last >= ALIKE:
            verdict = (
                "draws edges of the image in good part whatever the weights are: it says something of this network"
            )
        else:
            verdict = "tells of this network: with other weights it is another picture"
        numbers = ", ".join(f"{how} {round(value, 2) + 0:.2f}" for how, value in found.items() if value is not None)
        lines.append(f"{kind} {verdict} (rank correlation with the picture after weights are shuffled: {numbers})")
    return lines


def _middle(table: pa.Table, kind: str, how: str) -> float | None:
    """The median over layers of the rank correlation of signed values."""
    rows = zip(*(table.column(c).to_pylist() for c in ("kind", "randomised", "measure", "similarity")), strict=True)
    values = [similarity for k, h, measure, similarity in rows if (k, h, measure) == (kind, how, "rank_signed")]
    return float(np.median(values)) if values else None
