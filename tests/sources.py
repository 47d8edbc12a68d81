"""Folders, shards, tables and buckets of images, made for a test; what a manifest says of them."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from atlas.errors import ImageError
from atlas.images.manifest import Manifest, read_images
from atlas.store.files import Folder

PNG = b"\x89PNG "  # listing never looks inside


def fill(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(PNG + name.encode())
    return root


def keys(manifest: Manifest) -> list[str]:
    return manifest.table["key"].to_pylist()  # type: ignore[no-any-return]


def class_ids(manifest: Manifest) -> list[int | None]:
    return manifest.table["class_id"].to_pylist()  # type: ignore[no-any-return]


def bodies(manifest: Manifest) -> list[bytes | ImageError]:
    read = list(read_images(manifest.table))
    assert [image_id for image_id, _ in read] == list(range(len(manifest.table)))
    return [body for _, body in read]


def picture(seed: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(out, "PNG")
    return out.getvalue()


def write_tar(path: Path, members: Sequence[tuple[str, bytes]], kind: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=kind) as tar:
        for name, body in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(body)
            tar.addfile(entry, io.BytesIO(body))
    return path


def write_parquet(path: Path, columns: dict[str, Any], schema: pa.Schema | None = None, group: int = 1000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns, schema=schema), path, row_group_size=group)
    return path


def upload(folder: Path, bucket: str, under: str = "") -> str:
    target = Folder(f"{bucket}/{under}".rstrip("/"))
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            target.put(path.relative_to(folder).as_posix(), path.read_bytes())
    return target.location


def names_file(folder: Path) -> Path:
    path = folder / "names.tsv"
    path.write_text("b\tbird\na\tape\n")
    return path


def huggingface(names: Sequence[str]) -> dict[bytes, bytes]:
    features = {"image": {"_type": "Image"}, "label": {"names": list(names), "_type": "ClassLabel"}}
    return {b"huggingface": json.dumps({"info": {"features": features}}).encode()}


IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
