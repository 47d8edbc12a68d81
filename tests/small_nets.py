"""A small network around any function, for the tests of layers and blocks."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from atlas.types import Layer


def names(found: list[Layer]) -> list[str]:
    return [each.name for each in found]


class Small(nn.Module):
    """A body given as a function of (module, x) over some parts, then a mean and a linear layer."""

    def __init__(self, function: Any, **parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            self.add_module(name, part)
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.function(self, x).mean((2, 3)))


class Rounded(nn.Module):
    """A network without a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.detach()).detach().mean((2, 3))


def conv(channels: int = 3) -> nn.Conv2d:
    return nn.Conv2d(3, channels, 3, padding=1)


def users_network(data: Any) -> nn.Module:
    """The ResNet-20 that was written as a user would write it."""
    scope: dict[str, Any] = {"__name__": "resnet20"}
    exec(compile((data / "cifar10" / "resnet20.py").read_text("utf-8"), "resnet20.py", "exec"), scope)
    return scope["net"]()  # type: ignore[no-any-return]
