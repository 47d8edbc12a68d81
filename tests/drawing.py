"""A picture of a neuron, drawn by every rule, and the networks of the list with weights that do something."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from atlas.explain.backward import project
from atlas.network.load import import_torchvision
from atlas.types import Axis, Field, Layer

KINDS = ("deconvnet", "guided", "gradient")


_ANY = Field(Axis(1, 1, 0), Axis(1, 1, 0))


def layer_of(name: str, call: int = 1) -> Layer:
    """A layer that is only stopped at: its field does not matter here."""
    return Layer(0, name, "conv", 1, 1, 1, _ANY, True, name, call)


def picture(net: nn.Module, layer: str, x: Tensor, at: tuple[int, int, int], seed: float = 1.0) -> dict[str, Tensor]:
    """All three kinds for one image (1, 3, H, W) and `at` = channel, y, x."""
    return project(net, layer_of(layer), x, torch.tensor([at[1:]]), torch.tensor(at[:1]), KINDS, torch.tensor([seed]))


def network(name: str) -> nn.Module:
    torch.manual_seed(1)
    extra = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    net: nn.Module = getattr(import_torchvision().models, name)(weights=None, **extra)
    if name.startswith(("alexnet", "vgg")):  # the same shape of classifier, without its 100 million weights
        first = net.classifier[1 if name == "alexnet" else 0].in_features  # type: ignore[index]
        small = (nn.Dropout(), nn.Linear(first, 32), nn.ReLU(True), nn.Dropout(), nn.Linear(32, 32), nn.ReLU(True))
        net.classifier = nn.Sequential(*small, nn.Linear(32, 10))
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):  # batch norms that do something
            nn.init.uniform_(m.weight, 0.5, 1.5)
            nn.init.normal_(m.bias, 0, 0.3)
            nn.init.normal_(m.running_mean, 0, 0.1)  # type: ignore[arg-type]
            nn.init.uniform_(m.running_var, 0.5, 1.5)  # type: ignore[arg-type]
        if isinstance(m, nn.Conv2d | nn.Linear) and extra:
            nn.init.kaiming_normal_(m.weight)
    return net.eval().double()


class Formed(nn.Module):
    """Two convolutions with a rectifier of any form, called twice (as a reused module is)."""

    def __init__(self, form: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.a, self.b, self.c = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 4, 3)
        self.form = form
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x) * 4 + 1
        y = self.form(y)
        return self.c(self.form(self.b(y)))  # type: ignore[no-any-return]


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm()) if b.norm() > 0 else float(a.norm())


def output_of(net: nn.Module, layer: str, x: Tensor) -> Tensor:
    kept: list[Tensor] = []
    handle = net.get_submodule(layer).register_forward_hook(lambda m, i, o: kept.append(o.detach().clone()))
    with torch.no_grad():
        net(x)
    handle.remove()
    return kept[0]
