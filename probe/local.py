"""The probe without a process of its own: `atlas.open(DIR).probe(image)`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probe.protocol import asked

if TYPE_CHECKING:
    from atlas.read.catalog import Atlas
    from probe.subjects import Subject

QUESTION = ("ablate", "to", "edit")


@lru_cache(maxsize=2)
def _subject(location: str, digest: str, given: tuple[tuple[str, Any], ...]) -> Subject:
    from probe.subjects import open_subject

    return open_subject(location, dict(given))


def probe(atlas: Atlas, image: str | Path | bytes, *, k: int, layers: Sequence[str], **given: Any) -> dict[str, Any]:
    """The answer about one image, as the probe gives it."""
    from probe.answer import see, tell

    question = {name: given.pop(name) for name in QUESTION if name in given}
    wanted = asked({**question, "k": k, "layers": ",".join(layers)})
    body = image if isinstance(image, bytes) else Path(image).read_bytes()
    found = _subject(atlas.folder.location, str(atlas.about["digest"]), tuple(sorted(given.items())))
    return tell(found, see(found, body), wanted)
