"""Results of chunks in the folder of a job: `work/STAGE/NUMBER.arrow`, done because it is there.

A result is some tables by name; pictures lie in the chunk's own pack, which is there before the rows that name it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import pyarrow as pa

from atlas.store import layout
from atlas.store.files import Folder
from atlas.store.pictures import PackWriter

_NAME = b"table"


def path(stage: str, chunk: int) -> str:
    """Where the rows of a chunk lie."""
    return f"{layout.WORK}/{stage}/{chunk:06d}.arrow"


def done(folder: Folder, stage: str) -> set[int]:
    """Chunks whose results are there."""
    return {int(name.split(".")[0]) for name in folder.names(f"{layout.WORK}/{stage}")}


@dataclass
class Result:
    """What a chunk gives: rows by table, and pictures. Both are kept once the block that made it ends well."""

    rows: dict[str, pa.Table] = field(default_factory=dict)
    _pack: PackWriter | None = None
    _open: ExitStack = field(default_factory=ExitStack)
    _folder: Folder | None = None
    _name: str = ""

    @property
    def pack(self) -> PackWriter:
        """Where its pictures go; a chunk that never asks for it has none."""
        if self._pack is None:
            assert self._folder is not None
            stream = self._open.enter_context(self._folder.writing(layout.pack_path(self._name)))
            self._pack = PackWriter(stream, self._name)
        return self._pack


@contextmanager
def writing(folder: Folder, stage: str, chunk: int) -> Iterator[Result]:
    """Commits a chunk when the block ends well: first its pack, then its rows. Nothing of it is there if it raises."""
    with ExitStack() as stack:
        result = Result(_open=stack, _folder=folder, _name=layout.pack(stage, chunk))
        yield result
        if result._pack is not None:
            result._pack.close()
    folder.put(path(stage, chunk), dump(result.rows))


def dump(tables: Mapping[str, pa.Table]) -> bytes:
    """Tables by name as Arrow streams one after the other."""
    sink = pa.BufferOutputStream()
    for name, table in tables.items():
        table = table.replace_schema_metadata({_NAME: name.encode()})
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    return bytes(sink.getvalue())


def read(folder: Folder, stage: str, chunk: int) -> dict[str, pa.Table]:
    """The rows of a chunk, by table: the inverse of `dump`."""
    body = folder.get(path(stage, chunk))
    stream, found = pa.BufferReader(body), {}
    while stream.tell() < len(body):
        table = pa.ipc.open_stream(stream).read_all()
        found[table.schema.metadata[_NAME].decode()] = table.replace_schema_metadata(None)
    return found
