"""A network of timm with a head of one's own, as after fine-tuning.

A network as timm has it needs no file: its name is enough, and its preprocessing comes with it.

    neuron-atlas build --images photos --network timm:resnet18.a1_in1k --weights DEFAULT --out atlases/resnet18
    neuron-atlas build --images photos --network timm:resnet18.a1_in1k --weights resnet18.safetensors --out atlases/mine

With a head of ten classes the state dict fits no name any more, so this file says what was trained; and since a file
comes with no preprocessing, that of the training stands on the command line:

    neuron-atlas layers --network timm_network.py:net
    neuron-atlas build --images photos --network timm_network.py:net --weights tuned.safetensors \
        --resize 256 --crop 224 --interpolation bicubic --out atlases/tuned

`tuned.safetensors` is `safetensors.torch.save_file(model.state_dict(), "tuned.safetensors")` of the training.
Needs `neuron-atlas[timm]`.
"""

from __future__ import annotations

from typing import cast

import timm
from torch import nn


def net() -> nn.Module:
    """ResNet-18 for ten classes, (N, 3, 224, 224) to (N, 10); nothing is fetched, weights come from `--weights`."""
    return cast(nn.Module, timm.create_model("resnet18", pretrained=False, num_classes=10))
