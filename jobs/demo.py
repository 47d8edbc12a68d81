"""The demo: a small network trained on scikit-learn's handwritten digits, and a full atlas of it. No download."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_digits

from atlas.errors import InputError, JobError, SettingsError
from atlas.settings import Settings
from atlas.store import layout
from jobs import digits_network, stages
from jobs.add import add
from jobs.build import build
from jobs.progress import Progress, say
from jobs.verify import verify

SIDE = 32
HELD_OUT = 360
EPOCHS = 14
MEAN, STD = (0.3,) * 3, (0.35,) * 3
SMALL: Mapping[str, Mapping[str, Any]] = {
    "localization": {"sample": 64, "occlusion": 8},
    "visualizations": {"neurons": "4", "classes": "all", "steps": 64},
    "inversions": {"inversions": 4, "cells": 4, "steps": 100},
    "adversarial": {"attacked": 16, "fooling_steps": 50},
}
"""Options that make a part small; a part that is not named here is made as `add` makes it."""


def demo(out: str, port: int, *, serve: bool) -> int:
    """Trains, builds, adds parts, verifies and serves. Gives the exit code of `verify`, or 0 after the server."""
    folder = Path(out)
    inputs = folder.with_name(f"{folder.name}-inputs")
    if folder.exists() and any(folder.iterdir()) and not inputs.is_dir():
        raise SettingsError(f"--out {out}: holds something else; expected an empty or a new folder")
    pixels, labels = digits()
    weights = inputs / "digits.safetensors"
    if not weights.exists():
        write_images(inputs / "images", pixels, labels)
        train(pixels, labels, weights)
    network = f"{Path(digits_network.__file__)}:net"
    build(
        Settings(
            images=(str(inputs / "images"),),
            network=network,
            weights=str(weights),
            out=out,
            resize=SIDE,
            crop=SIDE,
            mean=MEAN,
            std=STD,
            chunk_size="256",
            picture_size=128,
        )
    )
    originals: dict[str, Any] = {
        "images": (str(inputs / "images"),),
        "network": network,
        "weights": str(weights),
    }
    add_parts(out, originals)
    code = verify(out, 20, **originals)
    if code or not serve:
        return code
    from api.server import serve as run

    say(f"{out}/{layout.ATLAS} is sealed; the same again: neuron-atlas serve {out}")
    run([out], host="127.0.0.1", port=port)
    return 0


def add_parts(out: str, originals: Mapping[str, Any]) -> None:
    """Every part that needs no second atlas; says of one that cannot be made here why."""
    for stage in stages.parts():
        if stage.several:
            continue
        try:
            add(out, stage.name, **SMALL.get(stage.name, {}), **originals)
        except InputError as error:
            say(f"part {stage.name} is left out: {error}")


def digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The 1,797 digits as grey pixels (1797, 32, 32), enlarged four times, and their labels; in a seeded order."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    grey = np.round(data.images[order] * (255 / 16)).astype(np.uint8)  # (1797, 8, 8)
    large = [np.asarray(Image.fromarray(g).resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for g in grey]
    return np.stack(large), data.target[order].astype(np.int64)


def write_images(folder: Path, pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
    """One PNG a digit, in a folder a class."""
    for number, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        path = folder / str(label) / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)


def train(pixels: NDArray[np.uint8], labels: NDArray[np.int64], weights: Path) -> float:
    """Trains on all but the last 360 digits, prints the accuracy on these, and writes the weights last."""
    torch.manual_seed(0)
    network = digits_network.net()
    x = (torch.from_numpy(pixels).float()[:, None].repeat(1, 3, 1, 1) / 255 - MEAN[0]) / STD[0]  # (1797, 3, 32, 32)
    y = torch.from_numpy(labels)
    count = len(x) - HELD_OUT
    steps = EPOCHS * (count // 32)
    optimiser = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 6e-3, total_steps=steps)
    progress = Progress("train", steps, "steps")
    for step in range(steps):
        batch = torch.randint(count, (32,))
        loss = F.cross_entropy(network(x[batch]), y[batch])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        progress.show(step + 1)
    network.eval()
    with torch.no_grad():
        right = float((network(x[count:]).argmax(1) == y[count:]).float().mean())
    progress.show(steps, final=True)
    say(f"train: {100 * right:.1f} % of {HELD_OUT} held-out digits are right")
    if right < 0.9:
        raise JobError(f"the demo's network learnt only {100 * right:.1f} %; please report this")
    save_file(network.state_dict(), weights)
    return right
