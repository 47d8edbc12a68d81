"""A sealed atlas as a part reads it: each table is compared with SHA256SUMS before it is believed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import pyarrow as pa
import pyarrow.parquet as pq

from atlas.errors import FolderError
from atlas.store import layout, seal
from atlas.store.files import Folder


class Sealed:
    """Tables of a sealed atlas, local or in a bucket. Raises `FolderError` where it is not sealed."""

    def __init__(self, location: str) -> None:
        self.location = location
        self.folder = Folder(location)
        self.about = seal.read_about(self.folder)
        self._checked: set[str] = set()

    def __reduce__(self) -> tuple[type[Sealed], tuple[str]]:
        return (Sealed, (self.location,))

    @property
    def name(self) -> str:
        return str(self.about["name"])

    @property
    def digest(self) -> str:
        return str(self.about["digest"])

    @property
    def classified(self) -> bool:
        """Whether its network answers with classes; one that gives features (`--no-classes`) does not."""
        return not self.about["settings"].get("no_classes", False)

    @cached_property
    def _sums(self) -> dict[str, str]:
        return seal.read_sums(self.folder)

    @cached_property
    def layers(self) -> list[str]:
        """Names of its layers, from input to output."""
        table = self.table("layers", ["layer", "index"]).sort_by("index")
        return [str(name) for name in table.column("layer").to_pylist()]

    def has(self, table: str) -> bool:
        """Whether it has a one-file table of that name; an optional one may be absent."""
        return layout.table(table) in self._sums

    def table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """A one-file table. Raises `FolderError` where it is missing or not what it was when it was sealed."""
        return self._read(layout.table(name), columns)

    def files(self, name: str, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The files of a table that is a folder of files (codes, responses), one after another."""
        for path in sorted(path for path in self._sums if path.startswith(f"{name}/")):
            yield self._read(path, columns)

    def file(self, name: str, number: int, columns: Sequence[str] | None = None) -> pa.Table:
        """One file of such a table, counted in the order of their names."""
        return self._read(layout.file_of(name, number), columns)

    def bytes(self, path: str) -> bytes:
        """Any other file of the atlas."""
        self._check(path)
        return self.folder.get(path)

    def _read(self, path: str, columns: Sequence[str] | None) -> pa.Table:
        self._check(path)
        with self.folder.open(path) as stream:
            return pq.read_table(stream, columns=None if columns is None else list(columns))

    def _check(self, path: str) -> None:
        if path not in self._checked:
            expected = self._sums.get(path)
            if expected is None:
                raise FolderError(f"{self.location}: has no {path}; build the atlas again")
            if seal.sha256(self.folder, path) != expected:
                raise FolderError(f"{self.location}/{path}: is damaged; copy the atlas again")
            self._checked.add(path)
