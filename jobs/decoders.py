"""Decoding on the CPUs of any node (`--decoders`): Ray tasks make pixels of stretches of images, ahead of the network.

A task reads and decodes one stretch. Its pixels cross the network once, from that task to the worker, in parts; a task
whose parts are not taken yet waits, so that what is in flight stays within `--in-flight-mb`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from itertools import islice
from typing import Any

import pyarrow as pa
import ray

from atlas.images.feed import Decoded, Feed, Quarantined
from atlas.images.manifest import stretches

STRETCH = 64
"""Images of a task, where the source can be cut anywhere."""
PART = 16
"""Images that travel together."""
PARTS = STRETCH // PART
"""Parts of a task that may wait for the worker."""


@ray.remote(num_cpus=1, max_retries=3, scheduling_strategy="SPREAD")  # type: ignore[untyped-decorator]
def _decode(feed: Feed, rows: pa.Table) -> Iterator[list[Decoded | Quarantined]]:
    found = feed.images(rows)
    while part := list(islice(found, PART)):
        yield part


@dataclass(frozen=True)
class RemoteFeed(Feed):
    """A feed whose decoding is done by up to `tasks` Ray tasks at once, wherever the cluster has a CPU free."""

    tasks: int = 1

    def images(self, rows: pa.Table) -> Iterator[Decoded | Quarantined]:
        """As `Feed.images`: the same images in the same order. Raises what a task raised."""
        there = replace(self._feed(), threads=1, ahead=PART)
        task: Any = _decode.options(_generator_backpressure_num_objects=PARTS)
        cuts = stretches(rows, STRETCH)
        waiting: deque[Any] = deque()
        try:
            while True:
                for start, stop in islice(cuts, self.tasks - len(waiting)):
                    waiting.append(task.remote(there, rows.slice(start, stop - start)))
                if not waiting:
                    return
                for reference in waiting[0]:
                    yield from map(_own, ray.get(reference))
                waiting.popleft()
        except ray.exceptions.RayTaskError as error:
            raise (error.cause if isinstance(error.cause, Exception) else error) from None
        finally:
            for generator in waiting:
                ray.cancel(generator)

    def _feed(self) -> Feed:
        return Feed(**{f.name: getattr(self, f.name) for f in fields(Feed)})


def remote(feed: Feed, tasks: int) -> RemoteFeed:
    """The same feed, decoded by Ray tasks."""
    return RemoteFeed(**feed.__dict__, tasks=tasks)


def _own(image: Decoded | Quarantined) -> Decoded | Quarantined:
    """What is kept for the whole chunk must not hold a part, with its pixels, in the object store."""
    if isinstance(image, Decoded) and image.properties is not None:
        return replace(image, properties=image.properties.copy())
    return image


def tasks_at_once(decoders: int, workers: int, in_flight: int, image_bytes: int) -> int:
    """Tasks of one worker: its share of the decoders and one that waits, within `in_flight` bytes."""
    return max(min(-(-decoders // workers) + 1, in_flight // (STRETCH * image_bytes)), 1)
