"""A job at work, as its driver sees it: plan, folder, what is done already, what one stage leaves to the next."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from atlas import tables
from atlas.store import parquet
from atlas.store.files import Folder
from atlas.store.sealed import Sealed
from atlas.types import SIDES
from jobs import chunks
from jobs.planning.plan import Plan
from jobs.stages import Stage

if TYPE_CHECKING:
    from atlas.analyse.stage import CodesResult
    from atlas.scan.earlier import Earlier
    from atlas.scan.merge import Survey


@dataclass(frozen=True)
class Chunk:
    """A chunk of a stage: how many things it is (`Stage.noun`), its name for people, what its worker is given."""

    size: int
    what: str
    given: Any = None


@dataclass
class Job:
    """A job at work. What its stages leave to one another stands here too, each thing named once."""

    plan: Plan
    folder: Folder
    """Where its results go."""
    check: Callable[[], None]
    """Raises `JobError` once another driver has taken over the output folder."""
    earlier: Earlier | None = None
    """An atlas whose full chunks are the first of this one."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time of each stage."""
    count: dict[str, int] = field(default_factory=dict)
    """Chunks of each stage."""
    summary: dict[str, Any] = field(default_factory=dict)
    """Figures that a part says of itself: `summary` of part.json."""
    redone: int = 0
    """Chunks that were run again, because their worker was lost or they failed."""
    survey: Survey = field(init=False)
    neurons: pa.Table = field(init=False)
    winners: pa.Table = field(init=False)
    examples: pa.Table = field(init=False)
    explanations: pa.Table = field(init=False)
    analysed: CodesResult = field(init=False)
    digest: str = field(init=False)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Adds the wall time of the block to the stage."""
        start = time.perf_counter()
        yield
        self.seconds[stage] = round(time.perf_counter() - start, 3)

    def done(self, stage: Stage) -> set[int]:
        """Chunks of a stage whose results are there, or came with an earlier atlas."""
        before = range(self.earlier.chunks) if self.earlier and stage.name == "scan" else ()
        return {*chunks.done(self.folder, stage.name), *before}

    @cached_property
    def atlas(self) -> Sealed:
        """The sealed atlas that a part is made from."""
        assert self.plan.part is not None, "a build has no atlas yet"
        return Sealed(self.plan.part.base)

    @property
    def options(self) -> Any:
        """The options of the part."""
        assert self.plan.part is not None, "a build has its settings: job.plan.settings"
        return self.plan.part.options

    def rows(self, stage: str, table: str) -> pa.Table:
        """A table's rows of all chunks of a stage, in the order of the chunks; an empty one where there are none."""
        columns = tables.BY_NAME[table].columns
        results = (chunks.read(self.folder, stage, chunk) for chunk in range(self.count[stage]))
        found = [result[table] for result in results if table in result]
        return pa.concat_tables(found) if found else columns.empty_table()

    def write(self, table: str, rows: pa.Table) -> None:
        """Writes a table of the part in the order of its key: layers as they come, sides as they are named."""
        declared = tables.BY_NAME[table]
        rows = parquet.conform(in_order(rows, declared.key, self.atlas.layers), declared.columns)
        parquet.write_batches(self.folder, declared.path, declared.columns, [rows])

    def finish(self, stage: str) -> None:
        """What the end of most parts is: each of its tables, from the rows of its chunks."""
        for declared in tables.of_part(stage):
            self.write(declared.name, self.rows(stage, declared.name))


def in_order(rows: pa.Table, key: Sequence[str], layers: Sequence[str]) -> pa.Table:
    """Rows sorted by a key; null comes first."""
    places: dict[str, Sequence[str]] = {"layer": layers, "other_layer": layers, "side": SIDES}
    columns = [_place(rows.column(name), places.get(name)) for name in key]
    sorting = [each for column in columns for each in (pc.is_valid(column), column)]
    names = [str(number) for number in range(len(sorting))]
    order = pc.sort_indices(pa.table(sorting, names=names), sort_keys=[(name, "ascending") for name in names])
    return rows.take(order)


def _place(column: pa.ChunkedArray, order: Sequence[str] | None) -> pa.Array:
    if order is None:
        return column
    return pc.index_in(column, value_set=pa.array(list(order), pa.string()))
