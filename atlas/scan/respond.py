"""One call of the network: what every neuron makes of every image of a batch, the logits, the codes."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

import torch
from torch import Tensor, nn

from atlas.network.layers import OUTPUT
from atlas.network.recorder import Recorder
from atlas.scan.extremes import extremes
from atlas.types import Layer


class Responder:
    """Runs batches of one shape and keeps, for each image and neuron, largest, smallest and mean value of the map.

    No positions are kept: an index costs more than the reduction, and the winners are run again in the harvest.
    """

    def __init__(self, module: nn.Module, layers: Sequence[Layer], code: tuple[str, int]) -> None:
        self._indices, self._channels = [layer.index for layer in layers], [layer.channels for layer in layers]
        self._found: dict[int, Tensor] = {}
        self._codes: list[Tensor] = []
        inputs = [] if code == OUTPUT else [code]
        self._recorder = Recorder(module, layers, self._take, inputs=inputs, take_input=self._take_code)

    def __enter__(self) -> Responder:
        self._recorder.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._recorder.__exit__(kind, error, trace)

    def _take(self, layer: Layer, output: Tensor) -> None:
        extremes(output, self._found[layer.index])

    def _take_code(self, _: tuple[str, int], value: Tensor) -> None:
        self._codes.append(value.float().mean((2, 3)))

    @torch.inference_mode()
    def __call__(self, batch: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Side max, side min, mean of the map (N, neurons); logits (N, classes); codes (N, dimensions): all float32.

        Where the code is the output, the logits are the codes.
        """
        # Asked for at once, since a small piece of memory a layer would lie where the next feature map could have been.
        found = torch.empty((3, len(batch), sum(self._channels)), device=batch.device)
        self._found = dict(zip(self._indices, torch.split(found, self._channels, 2), strict=True))
        self._codes.clear()
        logits = self._recorder.run(batch)
        assert logits is not None
        logits = logits.float()
        return found[0], found[1], found[2], logits, self._codes[-1] if self._codes else logits
