"""Pictures in plain tar packs: one read of `length` bytes at `offset` is an image file."""

from __future__ import annotations

import tarfile
import zlib
from typing import IO, Any

Picture = dict[str, Any]
"""A value of a picture column, as `atlas.tables.columns.PICTURE` says."""


def missing(why: str) -> Picture:
    """A picture that is not there, with the reason."""
    return {"pack": None, "offset": None, "length": None, "crc32": None, "why": why, "seed": None, "scale": None}


class PackWriter:
    """Writes pictures one after another into a tar stream. Equal pictures in equal order give equal bytes."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self._stream = stream
        self._name = name
        self._position = 0
        self.count = 0

    def add(self, member: str, body: bytes, *, seed: float | None = None, scale: float | None = None) -> Picture:
        """Appends one picture under the name `member`, and says where it lies."""
        info = tarfile.TarInfo(member)
        info.size = len(body)
        info.mode = 0o644
        header = info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")
        offset = self._position + len(header)
        padding = -len(body) % tarfile.BLOCKSIZE
        self._stream.write(header)
        self._stream.write(body)
        self._stream.write(b"\0" * padding)
        self._position = offset + len(body) + padding
        self.count += 1
        return {
            "pack": self._name,
            "offset": offset,
            "length": len(body),
            "crc32": zlib.crc32(body),
            "why": None,
            "seed": seed,
            "scale": scale,
        }

    def close(self) -> None:
        """Writes the end of the tar file; the stream stays open."""
        self._stream.write(b"\0" * (2 * tarfile.BLOCKSIZE))
