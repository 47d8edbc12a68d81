"""Pictures that were drawn already, in bounded memory: the one that was asked for longest ago goes first."""

from __future__ import annotations

from collections import OrderedDict

from probe.pictures import Picture

KEPT_BYTES = 64 << 20


class Kept:
    """At most `most` bytes of pictures. One thread."""

    def __init__(self, most: int) -> None:
        self._most, self._bytes = most, 0
        self._found: OrderedDict[str, tuple[Picture, int]] = OrderedDict()

    def get(self, key: str) -> Picture | None:
        """A picture that is kept."""
        if key not in self._found:
            return None
        self._found.move_to_end(key)
        return self._found[key][0]

    def put(self, key: str, picture: Picture, size: int) -> None:
        """Keeps a picture of `size` bytes."""
        self._bytes += size - self._found.pop(key, (picture, 0))[1]
        self._found[key] = picture, size
        while self._bytes > self._most:
            self._bytes -= self._found.popitem(last=False)[1][1]
