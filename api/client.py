"""A small client of the service, whose rows go straight into Arrow or a dataframe.

    with Client("http://127.0.0.1:8000") as client:
        digits = client.atlas("digits")
        digits.neuron("conv1", 3)["examples"]["max"][0]["response"]
        table(digits.neurons("conv1", sort="selectivity"))          # pyarrow.Table; .to_pandas() for a dataframe
        digits.map("tsne")                                          # pyarrow.Table
        digits.picture(neuron["examples"]["max"][0]["crop"])        # bytes of an image file

Standard library and pyarrow only. One connection, kept open; not to be shared by threads.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import pyarrow as pa

from api.http.urls import API, Urls, with_query
from atlas.errors import AtlasError

if TYPE_CHECKING:
    from types import TracebackType

    from api.views.atlas import Atlas
    from api.views.class_ import Class
    from api.views.classes import ClassItem
    from api.views.health import Health
    from api.views.image import Image
    from api.views.images import ImageItem
    from api.views.index import AtlasItem, AtlasList
    from api.views.layer import Layer
    from api.views.neighbours import Neighbour, NeighbourList
    from api.views.neuron import Neuron
    from api.views.probe import Probed
    from api.views.quarantine import Quarantined
    from api.views.sanity import Sanity
    from api.views.search import Hit
    from api.views.tile import Tile
    from api.views.values import Picture

ARROW = "application/vnd.apache.arrow.stream"


class ServiceError(AtlasError):
    """The service refused. `status` is that of HTTP; `str()` says the detail."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"{status}: {detail}")
        self.status = status
        self.detail = detail


def table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Rows (items of any list, examples of a neuron) as an Arrow table, nested values as structs and lists."""
    return pa.Table.from_pylist([dict(row) for row in rows])


class Client:
    """A service at `address`. Raises `ServiceError` for what it refuses, `OSError` where it cannot be reached."""

    def __init__(self, address: str, *, token: str | None = None, timeout: float = 30) -> None:
        parts = urlsplit(address)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.netloc, timeout=timeout)
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def health(self) -> Health:
        """State of the service."""
        return cast("Health", self.json(f"{API}/health"))

    def atlases(self) -> list[AtlasItem]:
        """What there is."""
        return cast("AtlasList", self.json(f"{API}/atlases"))["items"]

    def atlas(self, name: str) -> AtlasClient:
        """One atlas, by its name."""
        return AtlasClient(self, name)

    def json(self, path: str, body: Any = None) -> Any:
        """The answer to GET, or to POST of `body`, in JSON."""
        return json.loads(self.get(path, body=None if body is None else json.dumps(body).encode()))

    def get(self, path: str, *, accept: str = "application/json", body: bytes | None = None) -> bytes:
        """Bytes of an answer. A connection that the service has closed meanwhile is opened again, once."""
        headers = {**self._headers, "Accept": accept}
        for last in (False, True):
            try:
                self._connection.request("GET" if body is None else "POST", path, body, headers)
                answer = self._connection.getresponse()
                received = answer.read()
                break
            except (http.client.BadStatusLine, BrokenPipeError, ConnectionResetError):
                self._connection.close()
                if last:
                    raise
        if answer.status != 200:
            raise ServiceError(answer.status, _detail(received))
        return received


def _detail(received: bytes) -> str:
    try:
        return str(json.loads(received)["detail"])
    except (ValueError, KeyError, TypeError):
        return "no reason was given"


class AtlasClient:
    """One atlas of a service. Lists are iterators that ask for the next page when it is needed."""

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._urls = Urls(name)

    def about(self) -> Atlas:
        """What the atlas is."""
        return cast("Atlas", self._client.json(self._urls.api))

    def layers(self) -> list[Layer]:
        """Layers from input to output."""
        return list(self._items(f"{self._urls.api}/layers"))

    def neurons(
        self, layer: str, *, sort: str = "channel", order: str | None = None, class_id: int | None = None,
        dead: bool | None = None,
    ) -> Iterator[Tile]:  # fmt: skip
        """Neurons of a layer."""
        asked = {"sort": sort, "order": order, "class": class_id, "dead": None if dead is None else str(dead).lower()}
        return self._items(f"{self._urls.layer(layer)[0]}/neurons", asked | {"limit": 200})

    def neuron(self, layer: str, channel: int) -> Neuron:
        """All of one neuron."""
        return cast("Neuron", self._client.json(self._urls.neuron(layer, channel)[0]))

    def images(self, class_id: int | None = None) -> Iterator[ImageItem]:
        """Images, of a class or all."""
        return self._items(f"{self._urls.api}/images", {"class": class_id, "limit": 500})

    def image(self, image_id: int) -> Image:
        """One image."""
        return cast("Image", self._client.json(self._urls.image(image_id)[0]))

    def neighbours(self, image_id: int, k: int = 10) -> list[Neighbour]:
        """Images nearest to one."""
        address = with_query(f"{self._urls.image(image_id)[0]}/neighbours", {"k": k})
        return cast("NeighbourList", self._client.json(address))["items"]

    def neighbours_of(self, code: Sequence[float], k: int = 10) -> list[Neighbour]:
        """Images nearest to a code."""
        body = {"code": [float(value) for value in code], "k": k}
        return cast("NeighbourList", self._client.json(f"{self._urls.api}/neighbours", body))["items"]

    def probe(
        self, path: str | Path, *, k: int = 10, layers: Sequence[str] = (), ablate: Sequence[tuple[str, int]] = (),
        to: str = "zero", edit: str | None = None,
    ) -> Probed:  # fmt: skip
        """What the network makes of an image file; needs a probe behind the service."""
        neurons = ",".join(f"{layer}:{channel}" for layer, channel in ablate)
        asked = {"k": k, "layers": ",".join(layers) or None, "ablate": neurons or None, "to": to, "edit": edit}
        body = Path(path).read_bytes()
        return cast("Probed", json.loads(self._client.get(with_query(f"{self._urls.api}/probe", asked), body=body)))

    def classes(self) -> Iterator[ClassItem]:
        """Classes."""
        return self._items(f"{self._urls.api}/classes", {"limit": 500})

    def class_(self, class_id: int) -> Class:
        """One class."""
        return cast("Class", self._client.json(self._urls.class_(class_id)[0]))

    def map(self, kind: str | None = None) -> pa.Table:
        """Points of a map: image_id, x, y, grid_row, grid_column, class_id."""
        address = with_query(f"{self._urls.api}/map", {"kind": kind})
        return pa.ipc.open_stream(self._client.get(address, accept=ARROW)).read_all()

    def search(self, q: str) -> list[Hit]:
        """Layers, neurons, classes, images by name."""
        return list(self._items(f"{self._urls.api}/search", {"q": q}))

    def quarantine(self) -> Iterator[Quarantined]:
        """Images that were left out."""
        return self._items(f"{self._urls.api}/quarantine", {"limit": 500})

    def sanity(self) -> Iterator[Sanity]:
        """How far pictures depend on the weights."""
        return self._items(f"{self._urls.api}/sanity", {"limit": 500})

    def picture(self, picture: Picture) -> bytes:
        """Bytes of an image file. Raises `ServiceError` 404 with the reason where there is none."""
        if picture["url"] is None:
            raise ServiceError(404, picture["why"] or "not there")
        return self._client.get(picture["url"], accept="image/*")

    def _items(self, path: str, asked: Mapping[str, object] | None = None) -> Iterator[Any]:
        cursor = None
        while True:
            page = self._client.json(with_query(path, {**(asked or {}), "cursor": cursor}))
            yield from page["items"]
            cursor = page["next"]
            if cursor is None:
                return
