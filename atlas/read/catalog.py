"""An atlas opened from a sealed folder: DuckDB relations by name, one neuron, one image, pictures, neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, reduce
from operator import and_
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas import tables
from atlas.errors import FolderError, NotFoundError
from atlas.read import bounds, verify
from atlas.store import seal
from atlas.store.files import Folder

if TYPE_CHECKING:
    import duckdb
    from numpy.typing import ArrayLike
    from PIL.Image import Image as Picture

    from atlas.read.audit import Report
    from atlas.read.embeddings import Alike, Embeddings
    from atlas.read.examples import Examples
    from atlas.read.habits import Habits
    from atlas.read.images import Images
    from atlas.read.layers import Layers
    from atlas.read.neighbours import Neighbour, Neighbours
    from atlas.read.neurons import Neurons
    from atlas.read.objects import Class, Image, Layer, Neuron
    from atlas.read.parts import Part, Parts
    from atlas.read.pictures import Packs
    from atlas.read.relations import Relations
    from atlas.read.rows import Rows
    from atlas.read.words import Named, Words


class Store:
    """The tables that the service reads, laid out for reading one neuron or image at a time."""

    def __init__(self, folder: Folder, parts: list[Part] | None = None, class_names: Sequence[str] = ()) -> None:
        from atlas.read.examples import Examples
        from atlas.read.images import Images
        from atlas.read.layers import Layers
        from atlas.read.neurons import Neurons
        from atlas.read.parts import Parts
        from atlas.read.pictures import Packs
        from atlas.read.records import give_back
        from atlas.read.relations import Relations
        from atlas.read.rows import Things, laid

        _look_over(folder)
        self.layers: Layers = Layers(folder)
        self.packs: Packs = Packs(folder)
        self.images: Images = Images(folder, self.packs, class_names)
        self.neurons: Neurons = Neurons(folder, self.layers)
        self.examples: Examples = Examples(folder, self.layers, self.images, self.packs)
        self.relations: Relations = Relations(folder, self.layers, self.images, self.packs.whys)
        self.filters: list[tuple[int, str, Any]] = _filters(folder, self.layers, self.packs)
        things = Things(self.layers, self.images)
        self.parts: Parts = Parts(parts or [], things)
        self._sectioned: dict[str, Rows] = {
            table.name: laid(table, folder, self.packs, things)
            for table in tables.of_part(None)
            if table.sectioned and folder.exists(table.path)
        }
        self.images.forget()
        self.packs.check_sizes()
        give_back()
        self.packs.seal()

    @cached_property
    def words(self) -> Words:
        """Neurons by their words; indexed at the first question."""
        from atlas.read.words import Words

        return Words(self.parts.table("words"))

    @cached_property
    def embeddings(self) -> Embeddings:
        """Neurons by vectors of an encoder; read at the first question."""
        from atlas.read.embeddings import Embeddings

        made = self.parts.sealed("embeddings")
        digest = made[0].about["settings"]["identity"].get("encoder") if made else None
        return Embeddings(self.parts.table("embeddings"), digest)

    @cached_property
    def habits(self) -> Habits:
        """All histograms, to place a new response in; laid out at the first question."""
        from atlas.read.habits import Habits

        return Habits(self.neurons)

    def rows(self, table: str, at: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Rows of a table that sections show of what `at` names, each with its `part`, None for the base.

        Empty where the atlas has no such table. Raises `NotFoundError` for a thing that there is not.
        """
        if table in self._sectioned:
            return [{"part": None, **row} for row in self._sectioned[table].of(at)]
        return self.parts.rows(table, at)

    def close(self) -> None:
        for each in (self.packs, self.images, self.neurons, self.examples, self.relations, self.parts):
            each.close()


def _look_over(folder: Folder) -> None:
    """Tables that are only read when somebody asks for them are looked over first. Raises `FolderError`.

    Of the class profile, which has a row a neuron and class, only the columns are.
    """
    from atlas.read import source

    source.opened(folder, "classes")
    for name in ("quarantine", "sanity", "map"):
        for _ in source.batches(folder, name):
            pass


def _filters(folder: Folder, layers: Layers, packs: Packs) -> list[tuple[int, str, Any]]:
    """Neuron, kind and place of each filter that was drawn."""
    from atlas.read import source

    table = source.read(folder, "filters")
    numbers = layers.numbers("filters", table["layer"].combine_chunks(), table["channel"])
    places = packs.places(table["picture"])
    return sorted(zip(numbers.tolist(), table["kind"].to_pylist(), places, strict=True), key=lambda each: each[:2])


class Atlas:
    """A sealed atlas: a folder, a packed file, or either in a bucket. `atlas.neurons`, … are DuckDB relations.

    `verify`: the tables and the index are compared with SHA256SUMS first. Raises `FolderError` where the folder is
    not a sealed atlas, or not a sound one.
    """

    def __init__(self, location: str | Path, *, verify: bool = True) -> None:
        self.folder = Folder(str(location))
        self.about: dict[str, Any] = seal.read_about(self.folder)
        bounds.check(self.folder, self.about)  # before anything is laid out
        self._verify = verify
        self._sums: dict[str, str] = {}
        if verify:
            self.check()

    def check(self) -> None:
        """Compares the tables and the index with SHA256SUMS. Raises `FolderError` naming the first that differs.

        A part whose tables differ is left out, with the reason.
        """
        from atlas.read import parts

        expected = verify.sums(self.folder)
        paths = verify.needed(expected, self.folder)
        verify.check(self.folder, expected, paths)
        self._sums = {path: expected[path] for path in paths}
        for part in self.parts:
            parts.check(part)

    @property
    def name(self) -> str:
        return str(self.about.get("name") or self.folder.name)

    @cached_property
    def store(self) -> Store:
        """Tables laid out for single neurons and images; takes seconds the first time, for large atlases."""
        return Store(self.folder, self.parts, self.about.get("data", {}).get("classes", ()))

    def __getattr__(self, name: str) -> duckdb.DuckDBPyRelation:
        if name in tables.BY_NAME:
            return self.query(f'SELECT * FROM "{name}"')
        known = ", ".join(tables.BY_NAME)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}; its tables are {known}")

    @cached_property
    def parts(self) -> list[Part]:
        """Its parts, by name: sealed, begun, or damaged with the reason; a running process sees no new ones."""
        from atlas.read.parts import find

        return find(self.folder, str(self.about.get("digest")))

    @cached_property
    def _connection(self) -> Any:
        from atlas.read.relational import connection

        return connection(self.folder, self.parts)

    def query(self, sql: str) -> duckdb.DuckDBPyRelation:
        """A DuckDB relation over the tables by name. It can neither read nor write other files.

        Raises `duckdb.Error` for what DuckDB refuses.
        """
        relation = self._connection.sql(sql)
        if relation is None:
            raise FolderError(f"query {sql!r}: expected a statement that gives rows")
        return relation

    def info(self) -> dict[str, Any]:
        """What `atlas.json` says."""
        return dict(self.about)

    def neuron(self, layer: str, channel: int) -> Neuron:
        """One neuron: `.max`, `.examples`, `.picture()`. Raises `NotFoundError` for one that there is not."""
        from atlas.read.objects import Neuron

        self.store.layers.number(layer, channel)
        return Neuron(self, self._row("neurons", layer=layer, channel=channel))

    def layer(self, layer: str) -> Layer:
        """One layer; `opened.layer("conv1")[3]` is a neuron of it. Raises `NotFoundError`."""
        from atlas.read.objects import Layer

        return Layer(self, self.store.layers.rows[self.store.layers.index(layer)])

    def class_(self, class_id: int) -> Class:
        """One class of the images or of the network. Raises `NotFoundError`."""
        from atlas.read.objects import Class

        known = self.class_names
        if class_id not in known:
            raise NotFoundError(f"class {class_id}: no such class; expected one of {_some(sorted(known))}")
        return Class(self, {"class_id": int(class_id), "class_name": known[class_id]})

    @cached_property
    def class_names(self) -> dict[int, str]:
        """Names of the classes of images; those without a name have an empty one."""
        sql = (
            "SELECT class_id, coalesce(min(class_name), '') FROM (SELECT class_id, class_name FROM images UNION ALL "
            "SELECT unnest(class_ids), NULL FROM images) WHERE class_id IS NOT NULL GROUP BY ALL"
        )
        return dict(sorted(self.query(sql).fetchall()))

    def find(self, words: str, k: int = 20) -> list[Named]:
        """Neurons whose words match and beat chance, the best on the held-out half first. Raises `NotFoundError`."""
        if not self.store.parts.sealed("words"):
            raise NotFoundError(
                f"{self.name} has no part words; make it with: neuron-atlas add words {self.folder.location}"
            )
        return self.store.words.find(words, k)

    @property
    def encoder(self) -> str:
        """The digest of the text-image encoder of the part words. Raises `NotFoundError` where it has none."""
        if self.store.embeddings.encoder is None:
            raise NotFoundError(
                f"{self.name} has no embeddings; they are made with the part: neuron-atlas add words "
                f"{self.folder.location} --encoder open_clip:NAME"
            )
        return self.store.embeddings.encoder

    def alike(self, vector: ArrayLike, k: int = 20) -> list[Alike]:
        """Neurons whose strongest crops lie nearest to words, given as their vector by the encoder of digest `encoder`.

        Raises `NotFoundError` where the part was made without one, `InputError` for a vector of another size.
        """
        assert self.encoder, "an atlas without one has raised"
        return self.store.embeddings.find(vector, k)

    def image(self, image_id: int) -> Image:
        """One image: `.thumbnail`, `.examples`, `.neighbours()`. Raises `NotFoundError` for one that there is not."""
        from atlas.read.objects import Image

        self.store.images.row(image_id)
        return Image(self, self._row("images", image_id=image_id))

    def _row(self, table: str, **wanted: str | int) -> dict[str, Any]:
        """The row of a table whose columns have these values."""
        import pyarrow.compute as pc

        from atlas.read import source

        chosen = [pc.field(name) == value for name, value in wanted.items()]
        rows: list[dict[str, Any]] = source.read(self.folder, table, filters=reduce(and_, chosen)).to_pylist()
        if not rows:
            raise FolderError(f"{table}.parquet has no row of {wanted}; build the atlas again")
        return rows[0]

    def _repr_html_(self) -> str:
        from atlas.read import show

        return show.atlas(self)

    def picture(self, kind: str, **options: Any) -> Picture:
        """A sheet for a paper or a slide, as `atlas.read.sheets.draw` draws it: `neuron`, `layer` or `tsne-grid`."""
        from atlas.read.sheets import draw

        return draw(self.folder, kind, **options)

    def picture_bytes(self, picture: Mapping[str, Any]) -> bytes:
        """Bytes of the image file that a value of a picture column names, compared with its crc32.

        Raises `NotFoundError` with the reason where there is none, `PictureError` where it is damaged.
        """
        if picture["pack"] is None:
            raise NotFoundError(f"no picture: {picture['why']}")
        return self.store.packs.read(picture["pack"], picture["offset"], picture["length"])[0]

    def picture_of(self, picture: Mapping[str, Any]) -> Picture:
        """A value of a picture column as a PIL image. Raises as `picture_bytes`."""
        from atlas.read.objects import decoded

        return decoded(self.picture_bytes(picture), f"picture {picture['pack']}/{picture['offset']}")

    def verify(self) -> Report:
        """Checks all that the folder says of itself: checksums, counts, references, order, every picture."""
        from atlas.read.audit import audit

        return audit(self.folder.location)

    def probe(
        self, image: str | Path | bytes, *, k: int = 10, layers: Sequence[str] = (), **given: Any
    ) -> dict[str, Any]:
        """What the network makes of an image file: prediction, nearest images, the neurons most above their habit.

        `given`: where the network lies now (`network`, `weights`), as for `add`; and `ablate`, `to`, `edit`, as the
        probe's route takes them. Needs torch; the network is loaded at the first question. Raises `ImageError`,
        `InputError`, `NotFoundError`.
        """
        from probe.local import probe  # the one call upwards: an atlas itself knows no network

        return probe(self, image, k=k, layers=layers, **given)

    @cached_property
    def _near(self) -> Neighbours:
        from atlas.read.neighbours import Neighbours

        return Neighbours(self.folder, self.about, self._sums, verify=self._verify)

    def prepare(self) -> None:
        """Lays out the tables and opens the index, on one thread a query: for a service. Raises `FolderError`."""
        import faiss

        faiss.omp_set_num_threads(1)  # a query is short: threads would only wait for one another
        self.store.images.rows_of(self._near.ids(), "codes")

    @property
    def dimensions(self) -> int:
        """Values of a code; 0 where the atlas has none."""
        return self._near.dimensions

    def neighbours(self, image_id: int, k: int = 10) -> list[Neighbour]:
        """The `k` images nearest to one by cosine of their codes. Raises `NotFoundError`, `InputError`."""
        return self._near.of_image(image_id, k)

    def neighbours_of(self, code: Sequence[float], k: int = 10) -> list[Neighbour]:
        """The `k` images nearest to a code. Raises `InputError` for a code of another size."""
        return self._near.of_code(code, k)


def _some(values: Sequence[int]) -> str:
    """The first values of a list, in words."""
    return ", ".join(map(str, values[:10])) + (", …" if len(values) > 10 else "") if values else "none"
