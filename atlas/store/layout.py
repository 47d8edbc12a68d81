"""Every path inside an atlas folder, and nothing else."""

from __future__ import annotations

FORMAT_VERSION = 2

ATLAS = "atlas.json"
SUMS = "SHA256SUMS"
INDEX = "codes.faiss"
PICTURES = "pictures"
STATE = "state/fold"
"""What the files of the fold's state begin with."""
SAMPLE = "state/sample.safetensors"
SCORES = "state/scores.safetensors"
"""Logits of all images, where these have lists of classes: what the average precision is made of."""
BESIDE = ("pack.json", "README.md", "croissant.json")
"""What a packed atlas has beside its files; outside the seal."""
WORK = "work"
"""What a build that is not sealed yet keeps here; gone once the atlas is sealed."""
PLAN = "work/plan.json"
MANIFEST = "work/manifest.parquet"
LEASE = "work/lease.json"


def table(name: str) -> str:
    """Path of a one-file table."""
    return f"{name}.parquet"


def file_of(name: str, number: int) -> str:
    """Path of one file of a table that is a folder of files."""
    return f"{name}/part-{number:05d}.parquet"


def state(block: int) -> str:
    """The fold of a block of neurons after the last full chunk."""
    return f"{STATE}-{block:05d}.safetensors"


def scan_chunk(chunk: int) -> str:
    """The partial result of a chunk of the scan: done because it is there."""
    return f"work/scan/{chunk:06d}.partial"


def harvest_chunk(chunk: int) -> str:
    """The rows of a chunk of the harvest: done because it is there."""
    return f"work/harvest/{chunk:06d}.arrow"


def pack(stage: str, chunk: int) -> str:
    """Name of a pack of pictures, under `pictures/`."""
    return f"{stage}-{chunk:06d}.tar"


def pack_path(name: str) -> str:
    """Path of a pack inside the folder."""
    return f"{PICTURES}/{name}"
