"""Projections written from the papers, slowly: a forward pass that keeps everything, one backward step an operation.

No autograd, no hooks, nothing of `atlas.harvest`: `torch.fx` traces the network, and each node has its transpose here.
Zeiler & Fergus 2014 (deconvnet), Springenberg et al. 2015 (guided), Simonyan et al. 2014 (gradient).
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn


def rectifier_back(kind: str, signal: Tensor, x: Tensor, high: float | None) -> Tensor:
    """The signal below a rectifier whose input was `x`: the three rules, elementwise."""
    inside = (x > 0) & (x < high) if high is not None else x > 0
    if kind == "deconvnet":
        return torch.where(signal > 0, signal, torch.zeros_like(signal))
    if kind == "guided":
        return torch.where((signal > 0) & inside, signal, torch.zeros_like(signal))
    return torch.where(inside, signal, torch.zeros_like(signal))


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def conv_back(signal: Tensor, x: Tensor, m: nn.Conv2d) -> Tensor:
    """Each output position adds its window of weights, times the signal there, into the input."""
    (kh, kw), (sy, sx), (py, px), (dy, dx) = m.kernel_size, m.stride, _pair(m.padding), m.dilation
    n, _, height, width = x.shape
    out = x.new_zeros(n, x.shape[1], height + 2 * py, width + 2 * px)
    oh, ow = signal.shape[2:]
    gin, gout = x.shape[1] // m.groups, signal.shape[1] // m.groups
    for g in range(m.groups):
        s = signal[:, g * gout : (g + 1) * gout]
        w = m.weight[g * gout : (g + 1) * gout]
        for i in range(kh):
            for j in range(kw):
                part = torch.einsum("nohw,oc->nchw", s, w[:, :, i, j])
                rows = slice(i * dy, i * dy + sy * (oh - 1) + 1, sy)
                columns = slice(j * dx, j * dx + sx * (ow - 1) + 1, sx)
                out[:, g * gin : (g + 1) * gin, rows, columns] += part
    return out[:, :, py : py + height, px : px + width]


def max_pool_back(signal: Tensor, x: Tensor, kernel: Any, stride: Any, padding: Any, output: Tensor) -> Tensor:
    """The signal goes to the switch: the first largest input of the window, row by row."""
    (kh, kw), (sy, sx), (py, px) = _pair(kernel), _pair(stride or kernel), _pair(padding)
    height, width = x.shape[2:]
    oh, ow = output.shape[2:]
    below, right = max(0, (oh - 1) * sy + kh - height - py), max(0, (ow - 1) * sx + kw - width - px)
    padded = F.pad(x, (px, right, py, below), value=float("-inf"))
    out = torch.zeros_like(padded)
    taken = torch.zeros_like(output, dtype=torch.bool)
    for i in range(kh):
        for j in range(kw):
            rows, columns = slice(i, i + sy * (oh - 1) + 1, sy), slice(j, j + sx * (ow - 1) + 1, sx)
            switch = (padded[:, :, rows, columns] == output) & ~taken
            taken |= switch
            out[:, :, rows, columns] += torch.where(switch, signal, torch.zeros_like(signal))
    return out[:, :, py : py + height, px : px + width]


def avg_pool_back(signal: Tensor, x: Tensor, kernel: Any, stride: Any, padding: Any) -> Tensor:
    """Each output position gives every input of its window an equal share (padding counts, as torch's default)."""
    (kh, kw), (sy, sx), (py, px) = _pair(kernel), _pair(stride or kernel), _pair(padding)
    height, width = x.shape[2:]
    oh, ow = signal.shape[2:]
    out = x.new_zeros(*x.shape[:2], height + 2 * py, width + 2 * px)
    for i in range(kh):
        for j in range(kw):
            out[:, :, i : i + sy * (oh - 1) + 1 : sy, j : j + sx * (ow - 1) + 1 : sx] += signal / (kh * kw)
    return out[:, :, py : py + height, px : px + width]


class NaiveProjector(fx.Interpreter):
    """Runs a network node by node, and goes back from one neuron of one module's (first) output."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__(fx.symbolic_trace(module.eval()))
        self.values: dict[fx.Node, Any] = {}
        self.image: Tensor | None = None

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        self.values[n] = value.clone() if isinstance(value, Tensor) else value
        return value

    def project(self, image: Tensor, layer: str, channel: int, y: int, x: int, kind: str, seed: float = 1.0) -> Tensor:
        """The picture (1, 3, H, W) of the neuron at `(y, x)`; `layer` names a module called once."""
        with torch.no_grad():
            if self.image is not image:
                self.run(image.clone())
                self.image = image
            top = next(n for n in self.module.graph.nodes if n.op == "call_module" and n.target == layer)
            start = torch.zeros_like(self.values[top])
            start[(0, channel) if start.ndim == 2 else (0, channel, y, x)] = seed
            signals: dict[fx.Node, Tensor] = {top: start}
            nodes = list(self.module.graph.nodes)
            for node in reversed(nodes[: nodes.index(top) + 1]):
                if node in signals and node.op != "placeholder":
                    for below, part in self._back(node, signals.pop(node), kind):
                        signals[below] = signals[below] + part if below in signals else part
            (picture,) = signals.values()
            return picture

    def _back(self, node: fx.Node, s: Tensor, kind: str) -> list[tuple[fx.Node, Tensor]]:
        inputs = node.all_input_nodes
        x = self.values[inputs[0]]
        if node.op == "call_module":
            return [
                (inputs[0], _module_back(self.module.get_submodule(str(node.target)), s, x, self.values[node], kind))
            ]
        target = node.target if node.op == "call_function" else str(node.target)
        name = target if isinstance(target, str) else target.__name__
        if name == "relu":
            return [(inputs[0], rectifier_back(kind, s, x, None))]
        if target in (operator.add, operator.iadd, torch.add):
            return [(i, s) for i in inputs]
        if target is operator.mul:
            (factor,) = (a for a in node.args if not isinstance(a, fx.Node))
            return [(inputs[0], s * factor)]
        if target is torch.cat:
            sizes = [self.values[i].shape[1] for i in inputs]
            return list(zip(inputs, s.split(sizes, 1), strict=True))
        if target is operator.getitem:
            out = torch.zeros_like(x)
            out[node.args[1]] = s
            return [(inputs[0], out)]
        if target is torch.unsqueeze:
            return [(inputs[0], s.squeeze(node.args[1]))]
        if name == "pad":
            left, right, top, bottom, front, back = [*node.args[1], 0, 0, 0, 0][:6]
            return [
                (
                    inputs[0],
                    s[:, front : s.shape[1] - back, top : s.shape[2] - bottom, left : s.shape[3] - right],
                )
            ]
        if name == "max_pool2d":
            k = node.kwargs
            return [
                (inputs[0], max_pool_back(s, x, node.args[1], k.get("stride"), k.get("padding", 0), self.values[node]))
            ]
        if name == "avg_pool2d":
            k = node.kwargs
            return [(inputs[0], avg_pool_back(s, x, k["kernel_size"], k["stride"], k["padding"]))]
        if name == "adaptive_avg_pool2d":
            return [(inputs[0], _global_back(s, x, self.values[node]))]
        if name == "flatten":
            return [(inputs[0], s.reshape(x.shape))]
        raise NotImplementedError(f"no transpose written for {node.op} {name}")


def _global_back(s: Tensor, x: Tensor, output: Tensor) -> Tensor:
    assert output.shape[2:] == (1, 1)
    return (s / (x.shape[2] * x.shape[3])).expand_as(x)


def _module_back(m: nn.Module, s: Tensor, x: Tensor, output: Tensor, kind: str) -> Tensor:
    if isinstance(m, nn.Conv2d):
        return conv_back(s, x, m)
    if isinstance(m, nn.BatchNorm2d):
        assert m.running_var is not None
        return s * (m.weight / torch.sqrt(m.running_var + m.eps)).view(1, -1, 1, 1)
    if isinstance(m, nn.ReLU6):
        return rectifier_back(kind, s, x, 6.0)
    if isinstance(m, nn.ReLU):
        return rectifier_back(kind, s, x, None)
    if isinstance(m, nn.MaxPool2d):
        return max_pool_back(s, x, m.kernel_size, m.stride, m.padding, output)
    if isinstance(m, nn.AvgPool2d):
        return avg_pool_back(s, x, m.kernel_size, m.stride, m.padding)
    if isinstance(m, nn.AdaptiveAvgPool2d):
        return _global_back(s, x, output)
    if isinstance(m, nn.Linear):
        return s @ m.weight
    if isinstance(m, nn.Dropout | nn.Identity):
        return s
    raise NotImplementedError(f"no transpose written for {type(m).__name__}")


Projector: Callable[[nn.Module], NaiveProjector] = NaiveProjector
