"""The one place that makes addresses. Names are percent-encoded a part at a time, so that any name is one part."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote_to_bytes

API = "/api/v1"
_HOST = re.compile(r"(?:[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_BROKEN = re.compile(r"%(?![0-9A-Fa-f]{2})")


def origin(scope: Mapping[str, Any]) -> str | None:
    """What a request was called by, as `https://example.org`; null where its Host is none, or no name.

    Only what links to the service itself in words for others (previews) may be made of it: the caller chooses it.
    """
    headers = dict(scope["headers"])
    host = headers.get(b"host", b"").decode("latin-1")
    if not _HOST.fullmatch(host):
        return None
    secure = scope["scheme"] == "https" or headers.get(b"x-forwarded-proto") == b"https"  # as the proxy before it says
    return f"http{'s' if secure else ''}://{host}"


@lru_cache(maxsize=4096)
def part(name: str) -> str:
    """A name as one part of a path: `/` and all that is not unreserved is encoded; `.` and `..` as well."""
    encoded = quote(name, safe="@:")
    return encoded.replace(".", "%2E") if encoded in (".", "..") else encoded


def unpart(encoded: str) -> str | None:
    """The name behind one part of a path; null where it is not UTF-8, or not percent-encoding."""
    if "%" not in encoded:
        return encoded
    if _BROKEN.search(encoded):
        return None
    try:
        return unquote_to_bytes(encoded).decode("utf-8")
    except UnicodeDecodeError:
        return None


def with_query(address: str, values: Mapping[str, object]) -> str:
    """The address with those values that are not null as its query."""
    pairs = [f"{quote(name)}={quote(str(value), safe='')}" for name, value in values.items() if value is not None]
    return f"{address}?{'&'.join(pairs)}" if pairs else address


class Urls:
    """Addresses of one atlas. `api` and `page` are where its JSON and its pages begin."""

    def __init__(self, atlas: str, prefix: str = "") -> None:
        self.api = f"{prefix}{API}/atlases/{part(atlas)}"
        self.page = f"{prefix}/{part(atlas)}"
        self._packs: dict[tuple[str | None, str], str] = {}

    def of(self, *parts: object) -> tuple[str, str]:
        """Address of the JSON and of the page of what lies at these parts of a path."""
        path = "".join(f"/{part(str(each))}" for each in parts)
        return self.api + path, self.page + path

    def layer(self, layer: str) -> tuple[str, str]:
        return self.of("layers", layer)

    def neuron(self, layer: str, channel: int) -> tuple[str, str]:
        path = f"/neurons/{part(layer)}/{channel}"
        return self.api + path, self.page + path

    def image(self, image_id: int) -> tuple[str, str]:
        return f"{self.api}/images/{image_id}", f"{self.page}/images/{image_id}"

    def class_(self, class_id: int) -> tuple[str, str]:
        return f"{self.api}/classes/{class_id}", f"{self.page}/classes/{class_id}"

    def picture(self, pack: str, offset: int, length: int, of: str | None = None) -> str:
        """Address of one picture's bytes, in the base or in a part."""
        begin = self._packs.get((of, pack))
        if begin is None:
            where = self.api if of is None else f"{self.api}/parts/{part(of)}"
            begin = self._packs[of, pack] = f"{where}/pictures/{part(pack)}/"
        return f"{begin}{offset}-{length}"

    def thumbnail(self, image_id: int) -> str:
        return f"{self.api}/images/{image_id}/thumbnail"

    def whole(self, image_id: int) -> str:
        """Address of the whole image, large enough to draw a field on."""
        return f"{self.api}/images/{image_id}/picture"
