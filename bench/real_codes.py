"""Real codes for `bench/codes.py`, made once and kept under `bench/out/codes`: CIFAR-10 through ResNet-20 (64
dimensions), and 1,000 photographs through SqueezeNet (512). A code is the input of the layer that gives the logits."""

from __future__ import annotations

import importlib.util
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "../shared/data"
OUT = ROOT / "bench/out/codes"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def cifar(split: str) -> dict[str, np.ndarray]:
    """Codes (N, 64) float32, labels (N,) and pixels (N, 32, 32, 3) uint8 of a split; responses of layer3 too."""
    path = OUT / f"cifar-{split}.npz"
    if not path.exists():
        _save(path, **_cifar(split))
    return dict(np.load(path))


def photographs() -> dict[str, np.ndarray]:
    """Codes (1000, 512) float32 of the ImageNet sample."""
    path = OUT / "photographs.npz"
    if not path.exists():
        _save(path, codes=_photographs())
    return dict(np.load(path))


def _save(path: Path, **arrays: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)


def _normalise(pixels: np.ndarray) -> Any:
    import torch

    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255  # (N, 3, H, W)
    return (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def _cifar(split: str) -> dict[str, np.ndarray]:
    import torch
    from safetensors.torch import load_file

    torch.set_grad_enabled(False)
    spec = importlib.util.spec_from_file_location("resnet20", DATA / "cifar10/resnet20.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network = module.net().eval()
    network.load_state_dict(load_file(DATA / "cifar10/resnet20.safetensors"))
    table = pq.read_table(DATA / f"cifar10/{split}.parquet")
    bodies = table.column("image").combine_chunks().field("bytes")
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(body.as_py())).convert("RGB")) for body in bodies])
    kept: dict[str, list[np.ndarray]] = {"codes": [], "maxima": []}
    network.linear.register_forward_pre_hook(lambda _, inputs: kept["codes"].append(inputs[0].numpy().copy()))
    network.layer3.register_forward_hook(lambda *a: kept["maxima"].append(a[-1].amax((2, 3)).numpy().copy()))
    predicted = np.concatenate(
        [network(_normalise(pixels[i : i + 64])).argmax(1).numpy() for i in range(0, len(pixels), 64)]
    )
    return {
        "codes": np.concatenate(kept["codes"]),
        "maxima": np.concatenate(kept["maxima"]),
        "labels": table.column("label").to_numpy(),
        "predicted": predicted,
        "pixels": pixels,
    }


def _photographs() -> np.ndarray:
    import torch
    from safetensors.torch import load_file

    torch.set_grad_enabled(False)
    library = torch.library.Library("torchvision", "DEF")  # the operators are absent beside a CPU-only torch
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    from torchvision.models import squeezenet1_0

    network = squeezenet1_0().eval()
    network.load_state_dict(load_file(DATA / "networks/squeezenet1_0.safetensors"))
    kept: list[np.ndarray] = []
    network.classifier[1].register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0].mean((2, 3)).numpy()))
    files = sorted((DATA / "imagenet-sample").glob("*/*.JPEG"))
    for i in range(0, len(files), 16):
        network(_normalise(np.stack([_photograph(file) for file in files[i : i + 16]])))
    return np.concatenate(kept)


def _photograph(file: Path) -> np.ndarray:
    image = Image.open(file).convert("RGB")
    scale = 256 / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    return np.asarray(image.crop((left, top, left + 224, top + 224)))


if __name__ == "__main__":
    for name in sys.argv[1:] or ("test", "train", "photographs"):
        found = photographs() if name == "photographs" else cifar(name)
        print(name, {key: value.shape for key, value in found.items()})
