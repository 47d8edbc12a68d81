"""The rules in float64 against Captum, on networks whose rectifiers are all modules."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.drawing import KINDS, Formed, network, output_of, picture, relative

pytestmark = pytest.mark.usefixtures("one_thread")


def _captum(net: nn.Module, layer: str, x: Tensor, at: tuple[int, int, int], kind: str) -> Tensor:
    from captum.attr import NeuronDeconvolution, NeuronGradient, NeuronGuidedBackprop

    for m in net.modules():
        if isinstance(m, nn.ReLU):
            m.inplace = False
    selector = at if "." in layer or layer.startswith(("layer", "conv")) else at[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == "gradient":
            method: Any = NeuronGradient(net, net.get_submodule(layer))
        else:
            method = {"deconvnet": NeuronDeconvolution, "guided": NeuronGuidedBackprop}[kind](
                net, net.get_submodule(layer)
            )
        found: Tensor = method.attribute(x.clone(), selector)
    return found.detach()


CASES: dict[str, tuple[str, ...]] = {
    "alexnet": ("features.0", "features.6", "features.10", "classifier.6"),
    "vgg16": ("features.2", "features.14", "features.28", "classifier.6"),
    "vgg16_bn": ("features.1", "features.21", "features.41"),
    "squeezenet1_0": ("features.0", "features.5.expand3x3", "features.12.squeeze", "classifier.1"),
    "squeezenet1_1": ("features.4.expand1x1", "features.12.expand3x3"),
    "resnet18": ("conv1", "layer2.0.downsample.1", "layer3.1", "layer4.1.conv2", "fc"),
    "resnet50": ("layer1.2", "layer3.4.conv2", "layer4.0"),
    "densenet121": (
        "features.conv0",
        "features.denseblock2.denselayer3.conv1",
        "features.denseblock4.denselayer2.conv2",
    ),
    "mnasnet0_5": ("layers.8.0.layers.6", "layers.12.2"),
    "shufflenet_v2_x0_5": ("stage2.1.branch2.3", "stage4.0", "conv5.1"),
}
_QUICK = ("squeezenet1_1",)


def _check_captum(name: str) -> None:
    net = network(name)
    x = torch.randn(1, 3, 96, 96, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    for layer in CASES[name]:
        value = output_of(net, layer, x)
        channel = int(value.flatten(2).amax(2)[0].argmax()) if value.ndim == 4 else int(value[0].argmax())
        places = [(value.shape[2] // 2, value.shape[3] // 3), (0, value.shape[3] - 1)] if value.ndim == 4 else [(0, 0)]
        for y, left in places:
            at = (channel, y, left)
            got = picture(net, layer, x, at)
            for kind in KINDS:
                expected = (
                    _captum(net, layer, x, at, kind) if value.ndim == 4 else _captum_unit(net, layer, x, at, kind)
                )
                assert relative(got[kind], expected) <= 1e-9, (name, layer, at, kind)


def _captum_unit(net: nn.Module, layer: str, x: Tensor, at: tuple[int, int, int], kind: str) -> Tensor:
    from captum.attr import Deconvolution, GuidedBackprop, Saliency

    for m in net.modules():
        if isinstance(m, nn.ReLU):
            m.inplace = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == "gradient":
            found: Tensor = Saliency(net).attribute(x.clone(), at[0], abs=False)
        else:
            found = {"deconvnet": Deconvolution, "guided": GuidedBackprop}[kind](net).attribute(x.clone(), at[0])
    return found.detach()


@pytest.mark.parametrize("name", _QUICK)
def test_against_captum(name: str) -> None:
    _check_captum(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in CASES if n not in _QUICK])
def test_against_captum_on_the_list(name: str) -> None:
    _check_captum(name)


def test_captum_gives_the_plain_gradient_on_functional_rectifiers() -> None:
    """Why the slow version is needed: the same network with `F.relu` instead of modules."""
    x = torch.randn(1, 3, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    net = Formed(F.relu)
    got = picture(net, "c", x, (1, 3, 4))
    from captum.attr import NeuronDeconvolution

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = NeuronDeconvolution(net, net.c).attribute(x.clone(), (1, 3, 4))
    assert relative(theirs, got["gradient"]) <= 1e-9
    assert relative(theirs, got["deconvnet"]) > 0.1
