"""Every family of networks: what is listed, what has an exact field, and whether a response is found again.

    python -m bench.zoo [--quick | NAME …]      writes docs/networks.md, or, with names or --quick, prints

Each network is looked at by a process of its own. What is found is kept in `.zoo.jsonl`, so that the command goes on
where it was stopped; rows of another state of the code are made anew.

A small variant of each family, with random weights. Two images of noise are run as the scan runs them; then, for some
layers, one response each is found again as the harvest and the pictures do, by position, and the difference taken.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from atlas.errors import NetworkError
from atlas.explain.backward import Responses
from atlas.explain.stop import as_in_a_run
from atlas.network.candidates import find_candidates
from atlas.network.graph import trace
from atlas.network.layers import example, impossible_layers, layers_of
from atlas.network.outputs import answer_with_one_output
from atlas.network.recorder import Recorder, positions_of
from atlas.network.sources.of_torchvision import import_torchvision
from atlas.types import Layer

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT, STORE = ROOT / "docs" / "networks.md", ROOT / ".zoo.jsonl"
LIMIT = 240
"""Seconds for one network."""
AGAIN = 4
"""Layers of a network whose responses are found again."""
LARGE = 60_000_000
"""Parameters from which a network is looked at by its shapes alone."""
TIMM: tuple[str, ...] = (
    *("beit_base_patch16_224", "botnet26t_256", "caformer_s18", "cait_xxs24_224", "coat_lite_tiny"),
    *("coatnet_nano_rw_224", "convit_tiny", "convmixer_768_32", "convnext_atto", "convnextv2_atto", "crossvit_9_240"),
    *("cs3darknet_s", "davit_tiny", "deit3_small_patch16_224", "deit_tiny_distilled_patch16_224", "densenet121"),
    *("dla34", "dm_nfnet_f0", "dpn48b", "ecaresnet26t", "edgenext_xx_small", "efficientformer_l1"),
    *("efficientformerv2_s0", "efficientnet_b0", "efficientnet_b0_gn", "efficientvit_b0", "efficientvit_m0"),
    *("ese_vovnet19b_dw", "eva02_tiny_patch14_224", "fasternet_t0", "fastvit_t8", "focalnet_tiny_srf"),
    *("gcvit_xxtiny", "ghostnet_050", "gmlp_ti16_224", "halonet26t", "hardcorenas_a", "hgnetv2_b0", "hiera_tiny_224"),
    *("hrnet_w18_small", "inception_next_atto", "inception_v4", "lambda_resnet26t", "lcnet_050", "legacy_seresnet18"),
    *("legacy_xception", "levit_128s", "mambaout_femto", "maxvit_rmlp_pico_rw_256", "mixer_s32_224"),
    *("mobilenetv4_conv_small", "mobilevit_xxs", "mobilevitv2_050", "mvitv2_tiny", "nest_tiny", "nextvit_small"),
    *("nf_resnet26", "pit_ti_224", "poolformer_s12", "pvt_v2_b0", "rdnet_tiny", "regnety_002", "repghostnet_050"),
    *("repvit_m0_9", "res2net50_14w_8s", "resmlp_12_224", "resnest14d", "resnetv2_50x1_bit", "rexnet_100"),
    *("samvit_base_patch16_224", "selecsls42", "sequencer2d_s", "shvit_s1", "skresnet18", "starnet_s1"),
    *("swiftformer_xs", "swin_tiny_patch4_window7_224", "swinv2_cr_tiny_224", "swinv2_tiny_window8_256"),
    *("tiny_vit_5m_224", "tnt_s_patch16_224", "tresnet_m", "twins_svt_small", "visformer_tiny"),
    *("vit_base_patch16_siglip_224", "vit_relpos_small_patch16_224", "vit_small_patch16_dinov3"),
    *("vit_tiny_patch16_224", "vit_tiny_r_s16_p8_224", "vitamin_small_224", "volo_d1_224", "xception41"),
    *("xcit_nano_12_p16_224"),
)
"""One small variant of each family."""
QUICK = ("squeezenet1_0", "timm:convnext_atto", "timm:efficientnet_b0", "timm:vit_tiny_patch16_224", "timm:levit_128s")


@dataclass(frozen=True)
class Row:
    """A network of the zoo. `there`: convolutions, linear layers and blocks called; what follows counts those listed.

    `difference`: the largest of a response found again, as a share of the layer's largest; None where it was not run.
    """

    name: str
    side: int
    listed: int
    there: int
    exact: int
    gated: int
    whole: int
    tokens: int
    unplaced: int
    left_out: dict[str, str]
    difference: float | None
    seconds: float


def names() -> Iterator[str]:
    """torchvision's classifiers, then one of each family of timm's."""
    models = import_torchvision().models
    yield from models.list_models(module=models)
    yield from (f"timm:{name}" for name in TIMM)


def made(name: str) -> tuple[nn.Module, int, int]:
    """The network, the side of its input, and its channels."""
    torch.manual_seed(0)
    if not name.startswith("timm:"):
        models = import_torchvision().models
        extra = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        make = partial(models.get_model_builder(name), weights=None, **extra)
        try:
            with torch.device("meta"):
                shapes = make()
        except NotImplementedError:  # some draw their weights in a way that needs values
            shapes = make()
        large = sum(p.numel() for p in shapes.parameters()) > LARGE
        return shapes if large else make(), 299 if name == "inception_v3" else 224, 3
    import timm

    module = timm.create_model(name.removeprefix("timm:"), pretrained=False)
    channels, side, _ = module.pretrained_cfg["input_size"]
    return module, side, channels


def look(name: str) -> Row:
    """Lists the layers of a network and finds responses again. Raises `NetworkError`."""
    start = time.perf_counter()
    module, side, channels = made(name)
    module.eval().requires_grad_(False)
    answer_with_one_output(module)
    graph = trace(module, example(module, side, side, channels))
    layers, left_out = layers_of(graph), impossible_layers(graph)
    shapes = any(p.is_meta for p in module.parameters())
    difference = None if shapes else again(module, layers, torch.randn(2, channels, side, side))
    fields = [layer.field for layer in layers]
    return Row(
        name=name,
        side=side,
        listed=len(layers),
        there=len(find_candidates(graph)),
        exact=sum(not field.global_field for field in fields),
        gated=sum(field.gated for field in fields),
        whole=sum(field.global_field and not field.gated for field in fields),
        tokens=sum(layer.tokens for layer in layers),
        unplaced=sum(layer.tokens and not layer.height for layer in layers),
        left_out=left_out,
        difference=difference,
        seconds=time.perf_counter() - start,
    )


def again(module: nn.Module, layers: Sequence[Layer], x: Tensor) -> float:
    """Largest difference of the largest responses when they are run again by position, as a share of the largest."""
    chosen = list(layers[:: max(1, len(layers) // AGAIN)])[:AGAIN]
    best: dict[str, list[tuple[int, int, int, float]]] = {}

    def take(layer: Layer, maps: Tensor) -> None:
        flat = maps.float().flatten(2)  # (N, C, positions)
        values, at = flat.max(2)
        channels = values.argmax(1)
        rows = torch.arange(len(flat))
        y, x_ = positions_of(layer, at[rows, channels].numpy())
        given = zip(channels.tolist(), np.asarray(y).tolist(), np.asarray(x_).tolist(), values[rows, channels].tolist(),
                    strict=True)  # fmt: skip
        best[layer.name] = list(given)

    with torch.inference_mode(), Recorder(module, chosen, take) as recorder:
        recorder.run(x)
    worst = 0.0
    with as_in_a_run(module):
        for layer in chosen:
            with Responses(module, layer) as responses:
                got = responses.at(x.clone(), [each[:3] for each in best[layer.name]])
            scale = max(abs(each[3]) for each in best[layer.name]) or 1.0
            worst = max([worst, *(abs(g - each[3]) / scale for g, each in zip(got, best[layer.name], strict=True))])
    return worst


def line(row: Row) -> str:
    whys: dict[str, int] = {}
    for why in row.left_out.values():
        whys[why] = whys.get(why, 0) + 1
    reasons = "; ".join(f"{count}: {why}" for why, count in whys.items())
    again = "" if row.difference is None else f"{row.difference:.0e}"
    return (
        f"| {row.name} | {row.side} | {row.listed} of {row.there} | {row.exact} | {row.gated} | {row.whole} | "
        f"{row.tokens or ''} | {row.unplaced or ''} | {reasons} | {again} | {row.seconds:.1f} |"
    )


HEAD = """| network | input | layers listed | exact | gated | global | of tokens | no grid | left out | again | s |
|---|---|---|---|---|---|---|---|---|---|---|"""
ABOUT = """# Networks

Made by `python -m bench.zoo`: every classifier of torchvision and one small variant of each family of timm, with random
weights. *Listed*: convolutions, linear layers, residual blocks that a forward pass calls, in modules or as functions.
*Exact*: the field is one box of one stride. *Gated*: it is that of the local paths, and a gate (squeeze-and-excitation,
a global or group norm) sees everything. *Global*: the field is the whole input, behind a flatten, a global pool,
attention or an operation that is not followed; the cell says where. *Of tokens*: outputs whose positions were followed
through tokens or windows; *no grid*: of these, where they are none of patches (a mixer's layer over tokens, pairs of
tokens), so that a position has no place. *Again*: the largest difference of a response that is run again by its
position, as a share of the layer's largest; networks of more than 60 million parameters are looked at by their shapes
alone. *s*: seconds for all of it, on a busy machine of two cores.

"""


def state() -> str:
    """What a row depends on: the code that finds layers and runs them, and the versions of what they are found in."""
    sha = hashlib.sha256()
    for path in sorted((ROOT / "atlas" / "network").rglob("*.py")):
        sha.update(path.read_bytes())
    for name in ("torch", "torchvision", "timm"):
        sha.update(importlib.metadata.version(name).encode())
    return sha.hexdigest()[:12]


def one(name: str) -> None:
    """Looks at one network and prints its row as JSON."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    try:
        said = asdict(look(name))
    except (NetworkError, RuntimeError, NotImplementedError) as error:
        said = {"name": name, "stopped": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
    print(json.dumps(said))


def apart(name: str) -> dict[str, Any]:
    """The row of a network, made by a process of its own: its memory is free again, whatever happens to it."""
    command = [sys.executable, "-m", "bench.zoo", "--one", name]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT, check=False)
    except subprocess.TimeoutExpired:
        return {"name": name, "stopped": f"not done after {LIMIT} s"}
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
        return {"name": name, "stopped": last[:200]}
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def stored(store: Path) -> dict[str, dict[str, Any]]:
    """Rows by name, of this state of the code; the last of a name counts."""
    lines = store.read_text().splitlines() if store.exists() else []
    return {row["name"]: row for row in map(json.loads, lines) if row["state"] == state()}


def written(rows: dict[str, dict[str, Any]]) -> str:
    """The document."""
    every = list(names())
    found = [rows[name] for name in every if name in rows]
    done = [Row(**{k: v for k, v in row.items() if k != "state"}) for row in found if "stopped" not in row]
    there, listed = sum(row.there - len(row.left_out) for row in done), sum(row.listed for row in done)
    summary = (
        f"{len(found)} of {len(every)} networks; {listed:,} of {there:,} layers that depend on "
        f"the image are listed; {len(found) - len(done)} networks stopped."
    )
    missing = [name for name in every if name not in rows]
    if missing:
        summary += f" Not run: {', '.join(missing)}; the same command goes on with them."
    lines = {row.name: line(row) for row in done}
    stopped = {row["name"]: row["stopped"] for row in found if "stopped" in row}
    lines |= {name: f"| {name} | | stopped: {why} | | | | | | | | |" for name, why in stopped.items()}
    return "\n".join([ABOUT + summary + "\n", HEAD, *(lines[row["name"]] for row in found), ""])


def sound(row: dict[str, Any]) -> bool:
    """Whether every layer that depends on the image was listed, and every response found again."""
    if "stopped" in row:
        return False
    return row["listed"] == row["there"] - len(row["left_out"]) and (row["difference"] or 0) <= 1e-3


def main(asked: Sequence[str]) -> bool:
    """True where every network that was looked at is sound."""
    if asked[:1] == ["--one"]:
        one(asked[1])
        return True
    if asked:
        given = [apart(name) for name in (QUICK if asked == ["--quick"] else asked)]
        print(*(json.dumps(row) for row in given), sep="\n")
        return all(map(sound, given))
    rows = stored(STORE)
    with STORE.open("a") as stream:
        for name in names():
            if name not in rows:
                rows[name] = apart(name)
                print(json.dumps({**rows[name], "state": state()}), file=stream, flush=True)
                print(f"{name}: {rows[name].get('stopped', 'done')}", flush=True)
                DOCUMENT.write_text(written(rows))
    DOCUMENT.write_text(written(rows))
    return all(map(sound, rows.values()))


if __name__ == "__main__":
    sys.exit(0 if main(sys.argv[1:]) else 1)
