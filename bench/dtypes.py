"""What reduced precision does to the winners: the top 9 in bfloat16 and float16 against those in float32.

    python -m bench.dtypes

A neuron that never varies has no examples and is left out, as are those whose responses are equal in float32.
Kernels are this processor's: a GPU's round elsewhere, by as much.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray

from atlas.network import session
from atlas.network.normalise import Normalise
from atlas.scan import respond, topk
from bench.common import DATA, IMAGENET, RESNET20, SQUEEZENET, Subject, decoded, subject

K, BATCH = 9, 16
SETS = ((SQUEEZENET, None, IMAGENET, 1000), (RESNET20, 32, str(DATA / "cifar10/test.parquet"), 10_000))


def responses(who: Subject, pixels: NDArray[np.uint8], dtype: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Side max of every neuron (images, neurons), and the class predicted of each image."""
    module = session.prepare(copy.deepcopy(who.session.module), torch.device("cpu"), dtype)
    normalise = Normalise(who.session.preprocessing, torch.device("cpu"), session.DTYPES[dtype])
    high, predicted = [], []
    with respond.Responder(module, who.session.layers, who.session.code) as responder:
        for start in range(0, len(pixels) // BATCH * BATCH, BATCH):
            found, _, logits, _ = responder(normalise(pixels[start : start + BATCH]))
            high.append(found.numpy().copy())
            predicted.append(logits.argmax(1).numpy().copy())
    return np.concatenate(high), np.concatenate(predicted)


def compare(which: tuple[str, str], crop: int | None, source: str, count: int) -> None:
    """Two lines: what stays of the top 9 in each of the reduced types."""
    who = subject(which, crop)
    _, found = decoded([source], who.session.preprocessing, count)
    pixels = np.stack([image.pixels for image in found])
    exact, classes = responses(who, pixels, "float32")
    ids = np.arange(len(exact))
    varies = exact.max(0) > exact.min(0)
    wanted = topk.strongest(exact, ids, K)[1][varies]
    for dtype in ("bfloat16", "float16"):
        rough, rough_classes = responses(who, pixels, dtype)
        got = topk.strongest(rough, ids, K)[1][varies]
        same = np.array([len(np.intersect1d(a, b)) for a, b in zip(wanted, got, strict=True)]) / K
        error = np.abs(rough - exact).max(0)[varies] / np.abs(exact).max(0)[varies]
        print(
            f"{who.name}, {len(ids):,} images, {dtype}: of the top {K} {same.mean():.1%} are the same images (all of "
            f"them for {np.mean(same == 1):.1%} of neurons, in the same order for "
            f"{np.mean((got == wanted).all(1)):.1%}); the strongest is the same for "
            f"{np.mean(got[:, 0] == wanted[:, 0]):.1%}; responses off by {np.median(error):.1e} of the neuron's "
            f"largest (median; 99 of 100 below {np.quantile(error, 0.99):.1e}); prediction the same for "
            f"{np.mean(classes == rough_classes):.1%} of images",
            flush=True,
        )


def main() -> None:
    """Both networks."""
    for each in SETS:
        compare(*each)


if __name__ == "__main__":
    main()
