"""A tiny data set and network, and the real job over them: what most tests of the job look at.

Everything is drawn from fixed seeds. Channel 6 of `conv2` is dead but varies, channel 7 never varies at all.
"""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from atlas.settings import Settings
from tests import tiny_net

CLASSES = ("ant", "bee", "cat", "dog")
BAD = {
    "ant/003_empty.jpg": b"",
    "cat/010_text.png": b"this is no image",
    "dog/900.jpg": b"\xff\xd8\xff\xe0" + b"\0" * 40,
}
"""Files that cannot be used, by key."""
COUNT = 150
CROP = 32


def write_images(root: Path, count: int = COUNT, bad: dict[str, bytes] | None = None) -> Path:
    """Writes `count` smooth, busy pictures of many shapes into class folders, some of them broken."""
    bad = BAD if bad is None else bad
    for number in range(count):
        name = CLASSES[number % len(CLASSES)]
        kind = "png" if number % 3 == 0 else "jpg"
        path = root / name / f"{number // len(CLASSES):03d}.{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(picture(number), kind))
    for key, body in bad.items():
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        (root / key).write_bytes(body)
    return root


def picture(number: int) -> Image.Image:
    """Picture `number`: 30 to 60 pixels a side; its class shows in its colours."""
    rng = np.random.default_rng(number)
    low = rng.integers(0, 256, (5, 6, 3)).astype(float)
    low[..., number % 3] *= 0.2 + 0.25 * (number % len(CLASSES))
    size = 30 + int(rng.integers(0, 31)), 30 + int(rng.integers(0, 31))
    return Image.fromarray(low.clip(0, 255).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str) -> bytes:
    """The bytes of an image file."""
    out = io.BytesIO()
    image.save(out, {"png": "PNG", "jpg": "JPEG"}[kind], **({"quality": 92} if kind == "jpg" else {}))
    return out.getvalue()


def module(seed: int = 0) -> torch.nn.Module:
    """The network in eval mode with seeded weights; batch norms have statistics that matter."""
    net = tiny_net.net().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if value.dim() > 1:
                value.normal_(0, (2 / value[0].numel()) ** 0.5, generator=generator)
            elif name.endswith("running_var") or ("bn" in name and name.endswith("weight")):
                value.uniform_(0.5, 1.5, generator=generator)
            elif value.is_floating_point():
                value.normal_(0, 0.2, generator=generator)
        net.conv2.bias[6] = -50.0
        net.conv2.weight[7] = 0.0
        net.conv2.bias[7] = -1.0
    return net


def write_weights(path: Path, seed: int = 0) -> Path:
    """Writes the network's weights as safetensors."""
    save_file(module(seed).state_dict(), path)
    return path


def settings(root: Path, out: Path | None = None, **options: object) -> Settings:
    """Settings of the tiny build: images, weights and output under `root`."""
    base = Settings(
        images=(str(root / "images"),),
        network=f"{tiny_net.__file__}:net",
        weights=str(root / "weights.safetensors"),
        out=str(out or root / "atlas"),
        resize=36,
        crop=CROP,
        batch_size=8,
        chunk_size="16",
        sample=60,
        thumbnails=24,
        picture_size=24,
        workers="1",
        device="cpu",
    )
    return replace(base, **options)  # type: ignore[arg-type]


def write_inputs(root: Path, **options: object) -> Path:
    """Images and weights under `root`."""
    write_images(root / "images", **options)  # type: ignore[arg-type]
    write_weights(root / "weights.safetensors")
    return root


def arguments(chosen: Settings, *more: str) -> list[str]:
    """The command line of these settings."""
    words = ["build", "--images", *chosen.images]
    for name in ("network", "weights", "out", "resize", "crop", "batch_size", "chunk_size", "sample", "thumbnails"):
        words += [f"--{name.replace('_', '-')}", str(getattr(chosen, name))]
    words += ["--picture-size", str(chosen.picture_size), "--workers", chosen.workers, "--device", "cpu"]
    words += ["--projections", ",".join(chosen.projections), "-k", str(chosen.k)]
    return [*words, *more]
