"""A job at work, as its driver sees it: plan, folder, what is done already, what one stage leaves to the next."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from atlas.store.files import Folder
from jobs import chunks
from jobs.planning.plan import Plan
from jobs.stages import Stage

if TYPE_CHECKING:
    from atlas.analyse.stage import CodesResult
    from atlas.scan.earlier import Earlier
    from atlas.scan.merge import Gathered


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
    redone: int = 0
    """Chunks that were run again, because their worker was lost or they failed."""
    gathered: Gathered = field(init=False)
    winners: pa.Table = field(init=False)
    examples: pa.Table = field(init=False)
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
        before = range(self.earlier.units) if self.earlier and stage.name == "scan" else ()
        return {*chunks.done(self.folder, stage.name), *before}

    def rows(self, stage: str, table: str, count: int) -> pa.Table:
        """A table's rows of chunks 0 to `count` - 1, in the order of the chunks."""
        return pa.concat_tables([chunks.read(self.folder, stage, chunk)[table] for chunk in range(count)])
