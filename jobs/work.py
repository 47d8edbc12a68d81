"""What a worker does, with or without Ray: one process, one network, one device, chunk after chunk of any stage."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pyarrow as pa

from atlas.errors import DeviceMemoryError, ImageError, JobError
from atlas.store.files import Folder
from atlas.store.sealed import Sealed
from jobs import chunks
from jobs.originals import contents
from jobs.planning import data
from jobs.planning.plan import Plan
from jobs.stages import Stage

if TYPE_CHECKING:
    from atlas.network.session import Session

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome:
    """A chunk that is done; `report` is what its stage says of it, for the progress line."""

    chunk: int
    report: Any


class Work:
    """A worker, as the stages see it.

    Images of the scan are decoded by its own threads or, with `decoders` shared by `workers`, by Ray tasks.
    """

    def __init__(self, plan: Plan, decode_threads: int, decoders: int = 0, workers: int = 1) -> None:
        self.plan = plan
        self.folder = Folder(plan.settings.out)
        self.decode_threads, self.decoders, self.workers = decode_threads, decoders, workers
        self.watch: Callable[[], int] = lambda: 0
        """Says how much of the chunk at hand is done; a stage may put its own here."""
        self._kept: dict[str, Any] = {}
        if plan.found_network is not None:
            _ = self.session  # what cannot be loaded is said at the start, not at the first chunk

    @cached_property
    def session(self) -> Session:
        """The network, ready."""
        return self.plan.network.session(self.plan.settings)

    @cached_property
    def atlas(self) -> Sealed:
        """The sealed atlas that a part is made from."""
        assert self.plan.part is not None, "a build has no atlas yet"
        return Sealed(self.plan.part.base)

    @property
    def options(self) -> Any:
        """The options of the part."""
        assert self.plan.part is not None, "a build has its settings: worker.plan.settings"
        return self.plan.part.options

    def work(self, stage: Stage, chunk: int, given: Any = None) -> Outcome:
        """Does a chunk of a stage and commits it."""
        self.watch = lambda: 0
        with _memory(self.plan) if self.plan.found_network is not None else nullcontext():
            outcome = Outcome(chunk, stage.load().work(self, chunk, given))
        self.watch = lambda: 0  # the driver counts the whole chunk from here on
        return outcome

    def done(self) -> int:
        """How much of the chunk at hand is done, in the stage's own noun."""
        return self.watch()

    def keep(self, name: str, make: Callable[[], T]) -> T:
        """What `make` gives, made once and kept from one chunk to the next."""
        if name not in self._kept:
            self._kept[name] = make()
        return cast("T", self._kept[name])

    def result(self, stage: str, chunk: int) -> AbstractContextManager[chunks.Result]:
        """Where a chunk's rows and pictures go; they are committed when the block ends."""
        return chunks.writing(self.folder, stage, chunk)

    def chunk_rows(self, chunk: int) -> pa.Table:
        """The manifest's rows of a chunk of images."""
        return data.read_chunk(self.folder, chunk)

    def rows(self, image_ids: Sequence[int]) -> pa.Table:
        """The manifest's rows of these images, in the order of image_id."""
        return data.read_rows(self.folder, self.plan.data, pa.array(sorted(set(image_ids)), pa.int64()))

    def bodies(self, image_ids: Sequence[int]) -> dict[int, bytes]:
        """Files of images, by image_id, ascending.

        Raises `JobError` for one that cannot be read any more, or is another one than the atlas was built from.
        """
        from atlas.images.manifest import read_images

        found = {}
        for image_id, body in read_images(self.rows(image_ids)):
            if isinstance(body, ImageError):
                raise JobError(f"image {image_id} was scanned, but cannot be read again ({body}); restore it")
            self._compare(image_id, body)
            found[image_id] = body
        return found

    def _compare(self, image_id: int, body: bytes) -> None:
        if self.plan.part is None:
            return
        known = self.keep("content", lambda: contents(self.atlas))
        if known.get(image_id) != hashlib.sha256(body).digest():
            raise JobError(f"image {image_id} is not the one that the atlas was built from; restore it")


@contextmanager
def _memory(plan: Plan) -> Iterator[None]:
    """Says in words that the device's memory is too small; torch's own words fill a page."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError:
        raise DeviceMemoryError(
            f"the memory of {plan.settings.device} is too small for --batch-size {plan.settings.batch_size}; "
            "nothing else may use the device, or build into a new folder with a smaller batch"
        ) from None
