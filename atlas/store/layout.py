"""Every path inside an atlas folder, and nothing else."""

from __future__ import annotations

FORMAT_VERSION = 1

ATLAS = "atlas.json"
SUMS = "SHA256SUMS"
INDEX = "codes.faiss"
TABLES = (
    "images", "quarantine", "layers", "neurons", "examples", "classes", "map", "similar", "near_misses",
    "properties", "filters", "sanity",
)  # fmt: skip
PARTED = ("responses", "codes")
"""Tables that are folders of Parquet files, read in the order of their names."""
PICTURES = "pictures"
STATE = "state/fold.safetensors"
SAMPLE = "state/sample.safetensors"
WORK = "work"
"""What a build that is not sealed yet keeps here; gone once the atlas is sealed."""
PLAN = "work/plan.json"
MANIFEST = "work/manifest.parquet"
LEASE = "work/lease.json"


def table(name: str) -> str:
    """Path of a one-file table."""
    return f"{name}.parquet"


def part(name: str, number: int) -> str:
    """Path of one file of a parted table."""
    return f"{name}/part-{number:05d}.parquet"


def scan_unit(unit: int) -> str:
    """The partial result of a unit of the scan: done because it is there."""
    return f"work/scan/{unit:06d}.safetensors"


def harvest_unit(unit: int) -> str:
    """The rows of a unit of the harvest: done because it is there."""
    return f"work/harvest/{unit:06d}.arrow"


def pack(stage: str, unit: int) -> str:
    """Name of a pack of pictures, under `pictures/`."""
    return f"{stage}-{unit:06d}.tar"


def pack_path(name: str) -> str:
    """Path of a pack inside the folder."""
    return f"{PICTURES}/{name}"
