"""The layers of a network: which outputs are recorded, what they are called, and what they see of the input.

A layer is each convolution (where a batch norm is the sole consumer of its output, the batch norm's output, under the
convolution's name), each linear layer, and each residual block: the innermost module, never the network itself, whose
call adds two paths from one of its inputs. A second call of a module is `name@2`. Convolutions and linear layers that
are called as functions, with a parameter as their kernel, have the name of that parameter.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import NamedTuple

import torch
from torch import nn

from atlas.errors import NetworkError
from atlas.network.candidates import Candidate as Candidate
from atlas.network.candidates import find_candidates as find_candidates
from atlas.network.geometry import RefusalError
from atlas.network.graph import Graph, trace
from atlas.network.layout import Laid, laid, plain
from atlas.network.norms import BATCH_NORMS as BATCH_NORMS
from atlas.network.norms import LIVE_NORMS, is_rectified
from atlas.network.places import Found, find_places
from atlas.network.receptive import BLIND, Sight, field_of, see
from atlas.types import Layer


class CodeSource(NamedTuple):
    """The code is the input of this call of this module."""

    module: str
    call: int


OUTPUT = CodeSource("", 0)
"""The code is what the network gives: of one that gives features."""


def find_layers(
    module: nn.Module,
    height: int,
    width: int,
    channels: int = 3,
    *,
    wanted: Sequence[str] = ("auto",),
    exclude: Sequence[str] = (),
) -> list[Layer]:
    """The chosen layers of a network for inputs (N, channels, height, width), in forward order of their outputs.

    `auto` leaves out what cannot be recorded (`impossible_layers`). Raises `NetworkError` for an unknown name, for a
    network that cannot be run, and where layers that were named cannot be recorded: it names them all, and why.
    """
    return layers_of(trace(module, example(module, height, width, channels)), wanted, exclude)


def example(module: nn.Module, height: int, width: int, channels: int = 3) -> torch.Tensor:
    """A fixed input (1, channels, height, width), on the device and in the precision of the network."""
    first = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(0))
    ramp = torch.linspace(-1, 1, channels * height * width).reshape(1, channels, height, width)
    return ramp.to(first.device, first.dtype)


def layers_of(graph: Graph, wanted: Sequence[str] = ("auto",), exclude: Sequence[str] = ()) -> list[Layer]:
    """`find_layers` of a graph that is there already."""
    candidates = find_candidates(graph)
    if not candidates:
        raise NetworkError("network: has no convolution, linear layer or residual block to record")
    _check_alone(graph)
    names = [c.name for c in candidates]
    kept = set(choose_names(names, wanted, exclude))
    made = _Making(graph, candidates)
    layers, refused = made.layers([c for c in candidates if c.name in kept])
    named = [n for pattern in wanted if pattern != "auto" for n in _match(pattern, names, "--layers")]
    wrong = {name: why for name, why in refused.items() if name in named}
    if wrong:
        raise NetworkError(_impossible(wrong, names))
    if not layers:
        raise NetworkError(f"network: no layer can be recorded: {_reasons(refused)}")
    return layers


def impossible_layers(graph: Graph) -> dict[str, str]:
    """Layers that cannot be recorded, and why: they do not depend on the image, or hold no image apart."""
    candidates = find_candidates(graph)
    return _Making(graph, candidates).layers(candidates)[1]


def _impossible(wrong: dict[str, str], names: Sequence[str]) -> str:
    patterns = ",".join(wildcards(list(wrong), names))
    return f"--layers: {len(wrong)} cannot be recorded: {_reasons(wrong)}; leave them out with --exclude '{patterns}'"


def _reasons(refused: dict[str, str]) -> str:
    whys = {why: [n for n, w in refused.items() if w == why] for why in dict.fromkeys(refused.values())}
    return "; ".join(f"{', '.join(names)}: {why}" for why, names in whys.items())


def wildcards(wrong: Sequence[str], names: Sequence[str]) -> list[str]:
    """The fewest patterns that match all of `wrong` and nothing else: numbers become `*` where that is safe."""
    found: dict[str, None] = {}
    for name in wrong:
        wide = re.sub(r"\d+", "*", name)
        matched = [n for n in names if fnmatchcase(n, wide.replace("[", "[[]"))]
        found[wide if set(matched) <= set(wrong) else name] = None
    return list(found)


@dataclass
class _Making:
    """Layers of one graph; what two images tell is asked for once, and only where one image does not tell it."""

    graph: Graph
    candidates: Sequence[Candidate]

    @cached_property
    def sight(self) -> Sight:
        return see(self.graph)

    @cached_property
    def twice(self) -> tuple[Graph, dict[str, int], Found]:
        module, shape = self.graph.modules[""], self.graph.values[self.graph.input].shape
        try:
            again = trace(module, example(module, shape[2], shape[3], shape[1]).repeat(2, 1, 1, 1))
        except NetworkError as error:
            raise RefusalError(f"two images at once are more than the network takes ({error})") from error
        return again, {c.name: c.value for c in find_candidates(again)}, find_places(again)

    def layers(self, chosen: Iterable[Candidate]) -> tuple[list[Layer], dict[str, str]]:
        """The layers, and reasons of those that are none, by name."""
        found: list[Layer] = []
        refused: dict[str, str] = {}
        for candidate in chosen:
            try:
                found.append(self._layer(len(found), candidate))
            except RefusalError as error:
                refused[candidate.name] = str(error)
        return found, refused

    def _laid(self, candidate: Candidate) -> Laid:
        shape = self.graph.values[candidate.value].shape
        simple = plain(shape, candidate.kind, self.sight[candidate.value])
        if simple is not None:
            return simple
        again, values, places = self.twice
        if candidate.name not in values:
            raise RefusalError("it is another layer when two images are given")
        value = values[candidate.name]
        return laid(shape, again.values[value].shape, candidate.kind, places[value])

    def _layer(self, index: int, candidate: Candidate) -> Layer:
        graph, value = self.graph, candidate.value
        if self.sight[value] is None:
            raise RefusalError(BLIND)
        how = self._laid(candidate)
        field, why = field_of(graph, self.sight, value, how.channel_axis)
        return Layer(
            index=index,
            name=candidate.name,
            kind=candidate.kind,
            channels=graph.values[value].shape[how.channel_axis],
            height=how.height,
            width=how.width,
            field=field,
            rectified=is_rectified(graph, value),
            module=candidate.hook.module,
            call=candidate.hook.number,
            channel_axis=how.channel_axis,
            tokens=how.tokens,
            prefix_tokens=how.prefix_tokens,
            normalised=candidate.normalised,
            layout=how.layout,
            function=candidate.function,
            why=why,
        )


def _check_alone(graph: Graph) -> None:
    """Raises `NetworkError` where an image's responses would depend on its batch, or on chance."""
    for node in graph.nodes:
        if node.index not in graph.live or not node.stack:
            continue
        module = graph.modules[node.stack[-1].module]
        normalises = isinstance(module, nn.modules.batchnorm._BatchNorm) and node.op in (*BATCH_NORMS, *LIVE_NORMS)
        if normalises and len(node.args) > 5 and node.args[5] is True:
            raise NetworkError(
                f"{node.where}: a batch norm without running statistics, so that responses to an image depend on the "
                "other images of its batch; use one with track_running_stats"
            )
        if node.random:
            raise NetworkError(
                f"{node.where}: {node.op} draws random numbers in eval mode; make the network answer alike"
            )


def choose(layers: Sequence[Layer], wanted: Sequence[str] = ("auto",), exclude: Sequence[str] = ()) -> list[Layer]:
    """The wanted layers (`auto`: all) without the excluded, in forward order, numbered anew from 0.

    `*` in a name matches any text. Raises `NetworkError` for a name that matches no layer, or where none is left.
    """
    kept = set(choose_names([layer.name for layer in layers], wanted, exclude))
    return [replace(layer, index=i) for i, layer in enumerate(each for each in layers if each.name in kept)]


def choose_names(names: Sequence[str], wanted: Sequence[str], exclude: Sequence[str]) -> list[str]:
    """`choose` for names alone."""
    kept = [n for pattern in wanted for n in (names if pattern == "auto" else _match(pattern, names, "--layers"))]
    gone = {n for pattern in exclude for n in _match(pattern, names, "--exclude")}
    left = [n for n in names if n in set(kept) - gone]
    if not left:
        raise NetworkError(f"--layers {','.join(wanted)} --exclude {','.join(exclude)}: no layer is left; exclude less")
    return left


def _match(pattern: str, names: Sequence[str], option: str) -> list[str]:
    literal = pattern.replace("[", "[[]").replace("?", "[?]")
    found = [n for n in names if fnmatchcase(n, literal)]
    if not found:
        close = difflib.get_close_matches(pattern, names, n=3, cutoff=0.3) or list(names[:3])
        raise NetworkError(f"{option} {pattern}: no such layer; close to it: {', '.join(close)}")
    return found


def code_source(graph: Graph, layer: str | None = None) -> CodeSource:
    """The call whose input is an image's code: the last convolution or linear layer on the way to the logits.

    `layer`: a name, as in `--code-layer`, of a convolution, linear layer or block instead. Raises `NetworkError` for an
    unknown name, and where the network has no such layer.
    """
    candidates = find_candidates(graph)
    if layer is not None:
        name = choose_one([c.name for c in candidates if c.called], layer)
        return CodeSource(*next(c.call for c in candidates if c.name == name))
    reaching = [c for c in candidates if c.called and c.kind != "block" and graph.order(c.value) in graph.live]
    if not reaching:
        raise NetworkError("network: no convolution or linear layer leads to the logits; name one with --code-layer")
    return CodeSource(*reaching[-1].call)


def choose_one(names: Sequence[str], wanted: str) -> str:
    """One exact name among layers. Raises `NetworkError` naming the closest."""
    if wanted not in names:
        close = difflib.get_close_matches(wanted, names, n=3, cutoff=0.3) or list(names[-3:])
        raise NetworkError(f"--code-layer {wanted}: no such layer; close to it: {', '.join(close)}")
    return wanted
