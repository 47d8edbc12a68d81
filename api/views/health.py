"""State of the service and of its atlases."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Literal

from typing_extensions import TypedDict

from api.http.described import closed, doc
from api.library import Shelf, Verification


@closed
class AtlasHealth(TypedDict):
    """State of one atlas."""

    name: Annotated[str, doc("name of the atlas", "digits")]
    status: Annotated[Literal["available", "unavailable"], doc("whether it is served", "available")]
    reason: Annotated[str | None, doc("why it is not served; null where it is", None)]
    verification: Annotated[Verification | None, doc("what was verified; null where it could not be begun")]


@closed
class Health(TypedDict):
    """State of the service."""

    status: Annotated[
        Literal["ok", "degraded"],
        doc("degraded where an atlas is unavailable, a part is left out, or a pack failed its checksum", "ok"),
    ]
    version: Annotated[str, doc("version of neuron-atlas", "0.1.0")]
    pictures: Annotated[bool, doc("whether pictures are served", True)]
    atlases: Annotated[list[AtlasHealth], doc("state of each atlas")]


def health(shelves: Collection[Shelf], *, version: str, pictures: bool) -> Health:
    """What was verified, and what is still being."""
    well = all(_well(shelf) for shelf in shelves)
    return {
        "status": "ok" if well else "degraded",
        "version": version,
        "pictures": pictures,
        "atlases": [
            {
                "name": shelf.name,
                "status": "available" if shelf.available else "unavailable",
                "reason": shelf.reason,
                "verification": shelf.verification,
            }
            for shelf in shelves
        ],
    }


def _well(shelf: Shelf) -> bool:
    state = shelf.verification
    parts = () if state is None else state["parts"].values()
    return bool(
        shelf.available
        and state
        and state["tables"] == "verified"
        and not state["failed"]
        and all(x in ("verified", "begun") for x in parts)
    )
