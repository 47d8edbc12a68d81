"""Atlases as a stranger may have made them: a sound one, one thing in it changed, and resealed as if it had been so."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from atlas.store import layout

Change = Callable[[Path], None]


def copied(sound: Path, to: Path, change: Change, *, reseal: bool = True) -> Path:
    """A copy of an atlas with the change in it, and SHA256SUMS made anew."""
    shutil.copytree(sound, to)
    change(to)
    if reseal:
        sums(to)
    return to


def sums(root: Path) -> None:
    """Writes SHA256SUMS as whoever changed the folder would; not where a file is a hole, which takes long."""
    there = root / layout.SUMS
    if any(path.stat().st_size > 1 << 30 for path in root.iterdir()):
        return
    paths = [p for p in root.rglob("*") if p.is_file() and p != there and p.relative_to(root).parts[0] != "parts"]
    lines = {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}
    there.write_text("".join(f"{lines[path]}  {path}\n" for path in sorted(lines)))


def said(change: Callable[[dict[str, Any]], None]) -> Change:
    """What `atlas.json` says is changed."""

    def apply(root: Path) -> None:
        about = json.loads((root / layout.ATLAS).read_text())
        change(about)
        (root / layout.ATLAS).write_text(json.dumps(about))

    return apply


def body(text: str) -> Change:
    """`atlas.json` is this text."""
    return lambda root: (root / layout.ATLAS).write_text(text) and None


def rows(name: str, change: Callable[[pa.Table], pa.Table]) -> Change:
    """A table is changed."""

    def apply(root: Path) -> None:
        path = root / f"{name}.parquet"
        pq.write_table(change(pq.read_table(path)), path)

    return apply


def column(table: str, name: str, value: Any) -> Change:
    """Every value of a column is this one."""

    def change(found: pa.Table) -> pa.Table:
        at = found.schema.get_field_index(name)
        field = found.schema.field(at).with_nullable(True)
        return found.set_column(at, field, pa.array([value] * len(found), field.type))

    return rows(table, change)


def many(name: str, count: int = 100_000_000) -> Change:
    """A table has a hundred million equal rows, in next to no bytes."""

    def apply(root: Path) -> None:
        path = root / f"{name}.parquet"
        first = pq.read_table(path).slice(0, 1)
        block = pa.concat_tables([first] * 1_000).combine_chunks()
        block = pa.concat_tables([block] * 1_000).combine_chunks()
        with pq.ParquetWriter(path, block.schema, compression="zstd") as writer:
            for _ in range(count // 1_000_000):
                writer.write_table(block, row_group_size=1_000_000)

    return apply


def text_of(size: int) -> Change:
    """One key of `size` bytes, which compress to nearly none."""

    def change(found: pa.Table) -> pa.Table:
        keys = found["key"].to_pylist()
        keys[0] = "k" * size
        at = found.schema.get_field_index("key")
        return found.set_column(at, found.schema.field(at), pa.array(keys, pa.string()))

    def apply(root: Path) -> None:
        path = root / "images.parquet"
        pq.write_table(change(pq.read_table(path)), path, compression="zstd", use_dictionary=False)

    return apply


def declared(name: str) -> Change:
    """A footer that counts a row more than there is: the number lies in it as a varint, zigzag."""

    def apply(root: Path) -> None:
        path = root / f"{name}.parquet"
        there = path.read_bytes()
        size = int.from_bytes(there[-8:-4], "little")
        footer = bytearray(there[-8 - size : -8])
        count = pq.read_metadata(path).num_rows
        old, new = _varint(count * 2), _varint(count * 2 + 2)
        assert len(old) == len(new)
        at = footer.find(b"\x16" + old)
        while at >= 0:  # num_rows of the file and of its row groups, num_values of its columns
            footer[at + 1 : at + 1 + len(old)] = new
            at = footer.find(b"\x16" + old, at + 1)
        path.write_bytes(there[: -8 - size] + bytes(footer) + there[-8:])

    return apply


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def places(name: str, column: str, **values: int) -> Change:
    """Pictures lie elsewhere than they do."""

    def change(found: pa.Table) -> pa.Table:
        moved = [{**each, **values} if each["pack"] else each for each in found[column].to_pylist()]
        at = found.schema.get_field_index(column)
        return found.set_column(at, found.schema.field(at), pa.array(moved, found.schema.field(at).type))

    return rows(name, change)


def linked(name: str, to: Path) -> Change:
    """A folder of the atlas is a symbolic link to its like elsewhere."""

    def apply(root: Path) -> None:
        shutil.move(root / name, to)
        (root / name).symlink_to(to)

    return apply


def hole(path: str, size: int) -> Change:
    """A file is a hole of so many bytes."""

    def apply(root: Path) -> None:
        with (root / path).open("wb") as stream:
            stream.truncate(size)

    return apply


def index_of(size: int) -> Change:
    """The index says that it holds more codes than it has bytes."""

    def apply(root: Path) -> None:
        path = root / layout.INDEX
        there = bytearray(path.read_bytes())
        count = int(pq.read_metadata(root / "images.parquet").num_rows)
        for at in range(0, len(there) - 8, 1):
            if np.frombuffer(there, "<i8", 1, at)[0] in (count, count * 8, count * 32):
                there[at : at + 8] = size.to_bytes(8, "little")
        path.write_bytes(bytes(there))
        about = json.loads((root / layout.ATLAS).read_text())
        about["index"]["sha256"] = hashlib.sha256(there).hexdigest()
        (root / layout.ATLAS).write_text(json.dumps(about))

    return apply


def removed(path: str) -> Change:
    return lambda root: (root / path).unlink()
