"""What is going to be done, found out before any worker starts: images, network, layers, units.

Bad input ends here, with nothing written. The plan is what workers get: plain, picklable, the same on every machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from atlas.errors import NetworkError, SettingsError
from atlas.images.decode import Preprocessing
from atlas.images.manifest import Manifest, hash_key, list_images
from atlas.network import layers, load, nvjpeg
from atlas.network.graph import trace
from atlas.network.load import Network, NetworkSource
from atlas.settings import Settings
from atlas.store import layout
from atlas.store.files import Folder
from atlas.types import Layer

HALF_CODES_ABOVE = 250_000
"""Images above which codes are kept as float16."""
HARVEST_IMAGES = 256
HARVEST_EXAMPLES = 8192


@dataclass(frozen=True)
class Plan:
    """A build, ready to be run. `threshold`: key hashes up to it may be in the response sample."""

    settings: Settings
    source: NetworkSource
    preprocessing: Preprocessing
    layers: tuple[Layer, ...]
    code: tuple[str, int]
    count: int
    classes: tuple[str, ...]
    manifest_digest: str
    threshold: int
    half_codes: bool
    network: dict[str, str]
    batch_asked: int | None = None
    """The batch that was asked for, where the device's memory was too small for it and nothing was committed yet."""

    @property
    def neurons(self) -> int:
        return sum(layer.channels for layer in self.layers)

    @property
    def units(self) -> int:
        return -(-self.count // self.settings.unit_size)

    def identity(self) -> dict[str, Any]:
        """What makes two builds the same one: everything its contents depend on, as plain JSON values."""
        kept = self.settings.identity()
        paths = ("images", "class_names", "network", "weights")  # their contents count instead
        for name in (*paths, *asdict(self.preprocessing)):
            kept.pop(name)
        kept |= {f"preprocessing_{k}": v for k, v in asdict(self.preprocessing).items()}
        if self.batch_asked:
            kept["batch_asked"] = self.batch_asked
        kept |= {"manifest": self.manifest_digest, "count": self.count, **self.network}
        return dict(json.loads(json.dumps(kept)))


def make_plan(settings: Settings) -> tuple[Plan, Network, Manifest]:
    """Lists the images, loads the network, finds its layers. Raises `InputError`; writes nothing."""
    if not settings.address:  # on a cluster the workers find out
        nvjpeg.check(settings.device, settings.decode)
    source = load.fetch(settings.network, settings.weights)
    loaded = load.build(source)
    preprocessing = resolve_preprocessing(settings, loaded.preprocessing)
    graph = trace(loaded.module, layers.example(loaded.module, preprocessing.crop, preprocessing.crop))
    chosen = layers.layers_of(graph, settings.layers, settings.exclude)
    code = layers.code_source(graph, settings.code_layer)
    for name in settings.map_layers:
        if name not in {layer.name for layer in chosen}:
            raise NetworkError(f"--map-layers {name}: not among the layers of this build; see neuron-atlas layers")
    manifest = list_images(settings.images, settings.class_names, settings.limit)
    plan = Plan(
        settings=settings,
        source=source,
        preprocessing=preprocessing,
        layers=tuple(chosen),
        code=(code.module, code.call),
        count=len(manifest.table),
        classes=tuple(manifest.classes),
        manifest_digest=manifest.digest,
        threshold=sample_threshold(manifest.table, settings.seed, settings.sample),
        half_codes=len(manifest.table) > HALF_CODES_ABOVE,
        network={
            "network": loaded.name.rpartition("/")[2],
            "source_digest": loaded.source_digest,
            "weights_digest": loaded.weights_digest,
        },
    )
    return plan, loaded, manifest


def resolve_preprocessing(settings: Settings, default: Preprocessing) -> Preprocessing:
    """The network's own preprocessing where the settings say nothing."""
    given = {
        name: getattr(settings, name)
        for name in ("resize", "crop", "mean", "std", "interpolation")
        if getattr(settings, name) is not None
    }
    return replace(default, **given)


def sample_threshold(table: pa.Table, seed: int, sample: int) -> int:
    """Hash up to which images are kept for the response sample: twice as many as it needs, for those in quarantine."""
    candidates = 2 * sample + 256
    if len(table) <= candidates:
        return 2**64 - 1
    hashes = hash_key(seed, table.column("key"))
    return int(np.partition(hashes, candidates)[candidates])


def with_batch(plan: Plan, batch: int) -> Plan:
    """The plan with another batch than was asked for."""
    asked = plan.batch_asked or plan.settings.batch_size
    return replace(plan, settings=replace(plan.settings, batch_size=batch), batch_asked=asked)


def as_begun(folder: Folder, plan: Plan) -> Plan:
    """The plan as an earlier run of the same command changed it, for want of memory on the device."""
    sealed = folder.exists(layout.SUMS)
    path = layout.ATLAS if sealed else layout.PLAN
    if not folder.exists(path):
        return plan
    before = json.loads(folder.get(path))
    before = before.get("settings", {}).get("identity", {}) if sealed else before
    again = before.get("batch_asked") == plan.settings.batch_size
    return with_batch(plan, int(before["batch_size"])) if again else plan


def check_output(folder: Folder, plan: Plan) -> str:
    """What the output folder holds: "new", "begun" or "sealed", all by this plan. Raises `SettingsError` otherwise."""
    if folder.exists(layout.SUMS):
        before = json.loads(folder.get(layout.ATLAS)).get("settings", {}).get("identity", {})
        state = "sealed"
    elif folder.exists(layout.PLAN):
        before = json.loads(folder.get(layout.PLAN))
        state = "begun"
    elif folder.is_empty() or all(n.startswith(f"{layout.WORK}/") for n in folder.names(recursive=True)):
        return "new"  # a build that was stopped before it had its plan leaves its lease, or its manifest
    else:
        raise SettingsError(f"--out {folder.location}: holds something else; expected an empty or a new folder")
    mine = plan.identity()
    differs = sorted(k for k in mine.keys() | before.keys() if mine.get(k) != before.get(k))
    if differs:
        name = differs[0]
        raise SettingsError(
            f"--out {folder.location}: holds a build with other settings ({name} was {_short(before.get(name))}, "
            f"now {_short(mine.get(name))}); take another folder, or the same settings"
        )
    return state


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "…"


def write_plan(folder: Folder, plan: Plan, manifest: Manifest) -> None:
    """Writes the manifest, then the plan: a build that has its plan can go on."""
    with folder.writing(layout.MANIFEST) as stream:
        pq.write_table(manifest.table, stream, row_group_size=plan.settings.unit_size, compression="zstd")
    put_identity(folder, plan)


def put_identity(folder: Folder, plan: Plan) -> None:
    """Writes what makes this build this one."""
    folder.put(layout.PLAN, json.dumps(plan.identity(), indent=1).encode())


def read_unit(folder: Folder, plan: Plan, unit: int) -> pa.Table:
    """The manifest's rows of a unit of the scan: a unit is a row group."""
    with folder.open(layout.MANIFEST) as stream:
        return pq.ParquetFile(stream).read_row_group(unit)


def read_rows(folder: Folder, plan: Plan, image_ids: pa.Array) -> pa.Table:
    """The manifest's rows of these images, which ascend."""
    with folder.open(layout.MANIFEST) as stream:
        file = pq.ParquetFile(stream)
        groups = sorted({int(i) // plan.settings.unit_size for i in image_ids.to_numpy()})
        table = file.read_row_groups(groups)
    return table.filter(pc.is_in(table.column("image_id"), value_set=image_ids))


def harvest_units(winners: pa.Table, unit_size: int) -> Iterator[pa.Table]:
    """Winners, sorted by image and cut into units of whole images: the least work of the harvest."""
    ordered = winners.sort_by(
        [("image_id", "ascending"), ("neuron", "ascending"), ("side", "ascending"), ("rank", "ascending")]
    )
    ids = ordered.column("image_id").to_numpy()
    if not len(ids):
        return
    starts = np.flatnonzero(np.diff(ids, prepend=-1))
    ends = np.append(starts[1:], len(ids))
    limit = min(unit_size, HARVEST_IMAGES)
    begin = images_in = 0
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        if images_in and (images_in == limit or end - begin > HARVEST_EXAMPLES):
            yield ordered.slice(begin, start - begin)
            begin, images_in = start, 0
        images_in += 1
    yield ordered.slice(begin)
