"""`neuron-atlas pack`: a sealed atlas with its sealed parts as one file, which is read as it is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from atlas.errors import FolderError, InputError
from atlas.read import card
from atlas.read.verify import sums
from atlas.store import layout, packed, parts, seal
from atlas.store.files import PACKED, Folder

_PIECE = 1 << 22


def pack(location: str, out: str) -> dict[str, int]:
    """Writes the atlas at `location` into the tar `out`, and says how many files and bytes it has.

    Each file is compared with SHA256SUMS while it is copied. Raises `InputError` for an `out` that is there already or
    is not named *.tar, `FolderError` for an atlas that is not sound; then there is no file.
    """
    target = Path(out)
    if target.suffix != PACKED:
        raise InputError(f"-o {out}: expected a name that ends in {PACKED}")
    if target.exists():
        raise InputError(f"-o {out}: is there already; remove it, or choose another name")
    folder = Folder(location)
    about = seal.read_about(folder)
    expected = sums(folder)
    sealed = [part for part in parts.listed(folder, str(about["digest"])) if part.state == "sealed"]
    for part in sealed:
        inside = f"{parts.PARTS}/{part.name}"
        expected |= {f"{inside}/{path}": digest for path, digest in sums(part.folder).items()}
    kinds = {part.name: part.part for part in sealed}
    made = {
        card.README: card.card(folder, about, kinds).encode(),
        card.CROISSANT: json.dumps(card.croissant(folder, about, kinds, expected), indent=1).encode(),
    }
    seals = [layout.SUMS, *(f"{parts.PARTS}/{part.name}/{layout.SUMS}" for part in sealed)]
    made |= {path: folder.get(path) for path in seals}
    sizes = folder.sizes()
    missing = sorted(expected.keys() - sizes.keys())
    if missing:
        raise FolderError(f"{location}: {missing[0]} is missing; copy the atlas again")
    # What is asked for first lies first: the seal and the tables, then the pictures.
    order = sorted(expected, key=lambda path: (f"/{layout.PICTURES}/" in f"/{path}", path))
    members = [(path, len(body), iter([body])) for path, body in made.items()]
    members += [(path, sizes[path], _copied(folder, path, expected[path])) for path in order]
    beside = Folder(str(target.absolute().parent))
    with beside.writing(target.name) as stream:
        written = packed.write(stream, members)
    return {"files": len(members), "bytes": written}


def _copied(folder: Folder, path: str, expected: str) -> Iterator[bytes]:
    hasher = hashlib.sha256()
    with folder.passing(path) as stream:
        while body := stream.read(_PIECE):
            hasher.update(body)
            yield bytes(body)
    if hasher.hexdigest() != expected:
        raise FolderError(f"{path} is damaged: SHA-256 {hasher.hexdigest()[:12]}, expected {expected[:12]}")
