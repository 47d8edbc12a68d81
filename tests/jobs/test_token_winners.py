"""A build's top 9 of a vision transformer's layers: responses, images and positions of a naive loop with hooks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from atlas.network import load
from atlas.network.load import import_torchvision
from atlas.settings import Settings
from jobs.build import build
from jobs.planning.network import plan_network
from tests import tiny

import_torchvision()  # timm imports it, and it may need help
pytest.importorskip("timm")
NETS = Path(__file__).resolve().parents[1] / "timm_nets.py"
COUNT, K, BATCH = 30, 9, 8
Place = tuple[int, int]


def settings(root: Path, kind: str) -> Settings:
    return tiny.settings(
        root, root / "atlas", network=f"{NETS}:{kind}", resize=32, k=K, batch_size=BATCH, chunk_size="16",
        sides=("max", "min"), projections=(), evidence=0, thumbnails=0, sample=20,
    )  # fmt: skip


def places(name: str, output: Tensor) -> list[tuple[Place, tuple[Any, ...]]]:
    """Of a module's output, by what is known of the network: a position, and where in the output of image 0 it is."""
    if output.dim() == 2:
        return [((0, 0), (0,))]
    if output.dim() == 3:  # a class token, two registers, 4 x 4 patches
        return [((-1, t) if t < 3 else divmod(t - 3, 4), (0, t)) for t in range(19)]
    assert name == "patch_embed.proj"  # (N, C, 4, 4)
    return [((y, x), (0, slice(None), y, x)) for y in range(4) for x in range(4)]


def outputs(module: nn.Module, names: list[str], inputs: Tensor) -> dict[str, Tensor]:
    """What modules give in one forward pass, by hooks as anybody would write them."""
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[Any, Any, Tensor], None]:
        return lambda _module, _inputs, output: found.update({name: output.clone()})

    handles = [module.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    with torch.inference_mode():
        module(inputs)
    for handle in handles:
        handle.remove()
    return found


def naive(root: Path, kind: str) -> dict[tuple[str, int, str], list[tuple[float, int, int, int]]]:
    """(response, image, y, x) of the nine strongest and weakest of every channel, by a loop over images."""
    chosen = settings(root, kind)
    plan = plan_network(chosen)
    session = plan.session(chosen)
    keys = [row["key"] for row in pq.read_table(root / "atlas/images.parquet").to_pylist()]
    seen: dict[tuple[str, int, str], list[tuple[float, int, int, int]]] = {}
    for start in range(0, COUNT, BATCH):
        ids = range(start, min(start + BATCH, COUNT))
        pixels = np.stack([session.pixels((root / "images" / keys[i]).read_bytes()) for i in ids])
        inputs = session.call(pixels, [i % BATCH for i in ids])
        for name, output in outputs(session.module, [layer.name for layer in plan.layers], inputs).items():
            for image in ids:
                own = output[image % BATCH : image % BATCH + 1]
                at = places(name, own)
                values: NDArray[np.float32] = np.stack([own[where].numpy() for _, where in at])  # (positions, C)
                for channel in range(values.shape[1]):
                    for side, sign in (("max", -1), ("min", 1)):
                        best = min(
                            (sign * float(v), y, x) for v, ((y, x), _) in zip(values[:, channel], at, strict=True)
                        )
                        seen.setdefault((name, channel, side), []).append((best[0], image, *best[1:]))
    signs = {"max": -1, "min": 1}
    return {
        key: [(signs[key[2]] * r, image, y, x) for r, image, y, x in sorted(rows)[:K]] for key, rows in seen.items()
    }


@pytest.mark.parametrize("kind", ["vit"])
def test_all_layers_against_a_naive_loop(kind: str, tmp_path: Path, embedded_ray: None, one_thread: None) -> None:
    tiny.write_images(tmp_path / "images", COUNT, {})
    save_file(load.bare(f"{NETS}:{kind}").state_dict(), tmp_path / "weights.safetensors")
    build(settings(tmp_path, kind))
    got: dict[tuple[str, int, str], list[tuple[float, int, int, int]]] = {}
    for row in pq.read_table(tmp_path / "atlas/examples.parquet").to_pylist():
        key = (row["layer"], row["channel"], row["side"])
        got.setdefault(key, []).append((row["response"], row["image_id"], row["y"], row["x"]))
    want = naive(tmp_path, kind)
    assert {layer for layer, _, _ in got} == {layer for layer, _, _ in want}
    neurons = pq.read_table(tmp_path / "atlas/neurons.parquet").to_pylist()
    constant = {(n["layer"], n["channel"], s) for n in neurons for s in ("max", "min") if n[f"why_{s}"]}
    assert len(constant) < len(want) / 10
    assert set(got) == set(want) - constant
    for key, rows in got.items():
        assert rows == want[key], key
