"""One file to send: a plain tar whose first member lists the others, so that each is read where it lies.

    pack.json      {"format": 1, "members": [[path, bytes], …]} in the order of the tar
    then           each member: a header of 512 bytes, its bytes, zeros up to the next 512

Where a member lies follows from the sizes of those before it, so members can neither overlap nor lie outside; and its
header must be, byte for byte, the one that `write` makes: no links, no holes, no devices, no other names.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterable
from typing import IO, Any

from atlas.errors import FolderError

INDEX = "pack.json"
FORMAT = 1
_BLOCK = tarfile.BLOCKSIZE
_MEMBERS = 100_000
_INDEX_BYTES = 16 << 20
_NAME_BYTES = 100

Read = Callable[[int, int], bytes]
"""Bytes of the packed file: offset, length."""


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "strict")


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def write(stream: IO[bytes], members: Iterable[tuple[str, int, Iterable[bytes]]]) -> int:
    """Writes path, size and contents of each member; gives the bytes written. The same members give the same bytes.

    Raises `FolderError` for a path of more than 100 bytes, and for contents of another size.
    """
    listed = list(members)
    body = json.dumps({"format": FORMAT, "members": [[path, size] for path, size, _ in listed]}).encode()
    written = 0
    for path, size, contents in [(INDEX, len(body), iter([body])), *listed]:
        if len(path.encode()) > _NAME_BYTES:
            raise FolderError(f"{path}: expected a path of at most {_NAME_BYTES} bytes; rename the part with --as")
        stream.write(_header(path, size))
        left = size
        for piece in contents:
            stream.write(piece)
            left -= len(piece)
        if left:
            raise FolderError(f"{path}: has {size - left} bytes, expected {size}; it changed while it was packed")
        stream.write(b"\0" * (_padded(size) - size))
        written += _BLOCK + _padded(size)
    stream.write(b"\0" * (2 * _BLOCK))
    return written + 2 * _BLOCK


def members(read: Read, size: int, location: str, *, headers: bool = True) -> dict[str, tuple[int, int]]:
    """Offset and size of each member of a packed file of `size` bytes, in bounded time and memory.

    `headers`: each member's header is compared too: one small read a member. Raises `FolderError`.
    """
    index = _index(read, size, location)
    found: dict[str, tuple[int, int]] = {}
    at = _BLOCK + _padded(len(index))
    for path, length in _listed(index, location):
        if path in found or path == INDEX:
            raise FolderError(f"{location}: {path!r} is there twice; {_CURE}")
        if at + _BLOCK + length > size:
            raise FolderError(f"{location}: {path!r} ends at {at + _BLOCK + length}, the file at {size}; {_CURE}")
        if headers and read(at, _BLOCK) != _header(path, length):
            raise FolderError(f"{location}: the header of {path!r} is not that of a plain file; {_CURE}")
        found[path] = (at + _BLOCK, length)
        at += _BLOCK + _padded(length)
    return found


_CURE = "expected a file that neuron-atlas pack wrote, whole"


def _index(read: Read, size: int, location: str) -> bytes:
    """The first member. Raises `FolderError` where it is another one, or too large."""
    head = read(0, _BLOCK) if size >= _BLOCK else b""
    try:
        info = tarfile.TarInfo.frombuf(head, "utf-8", "strict")
    except (tarfile.HeaderError, ValueError):
        raise FolderError(f"{location}: is no tar; {_CURE}") from None
    if info.name != INDEX or not 0 < info.size <= min(_INDEX_BYTES, size) or head != _header(INDEX, info.size):
        raise FolderError(f"{location}: does not begin with {INDEX}; {_CURE}")
    return read(_BLOCK, info.size)


def _listed(index: bytes, location: str) -> Iterable[tuple[str, int]]:
    try:
        told: Any = json.loads(index)
        version, listed = told["format"], told["members"]
        pairs = [(path, length) for path, length in listed]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise FolderError(f"{location}: its {INDEX} cannot be read; {_CURE}") from None
    if version != FORMAT:
        raise FolderError(f"{location}: is packed in format {str(version)[:20]}, expected {FORMAT}; pack it again")
    if len(pairs) > _MEMBERS:
        raise FolderError(f"{location}: lists {len(pairs)} members, expected at most {_MEMBERS}; {_CURE}")
    for path, length in pairs:
        if not isinstance(path, str) or not _inside(path) or type(length) is not int or not 0 <= length < 1 << 50:
            raise FolderError(f"{location}: lists {str(path)[:80]!r} of {str(length)[:20]} bytes; {_CURE}")
    return pairs


def _inside(path: str) -> bool:
    try:
        short = 0 < len(path.encode()) <= _NAME_BYTES
    except UnicodeEncodeError:
        return False
    return short and "\0" not in path and "\\" not in path and not {"", ".", ".."} & set(path.split("/"))
