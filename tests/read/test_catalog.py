"""`atlas.open`: relations by name, and one neuron, image, picture, against the tables read row by row."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import atlas
from atlas import tables
from atlas.errors import FolderError, NotFoundError, PictureError
from atlas.read.catalog import Atlas
from atlas.read.search import search
from atlas.tables.columns import MEASURES
from atlas.tables.network import FILTERS
from tests import constructed

SHAPE = constructed.Shape(images=60, quarantined=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return constructed.write(tmp_path_factory.mktemp("read") / "atlas", SHAPE)


@pytest.fixture(scope="module")
def opened(folder: Path) -> Atlas:
    return atlas.open(folder)


def rows(folder: Path, table: str) -> list[dict[str, Any]]:
    return list(pq.read_table(folder / f"{table}.parquet").to_pylist())


def test_every_table_is_a_relation(opened: Atlas, folder: Path) -> None:
    for name in (table.name for table in tables.of_part(None)):
        relation = getattr(opened, name)
        assert isinstance(relation, duckdb.DuckDBPyRelation)
        files = (
            [folder / f"{name}.parquet"] if (folder / f"{name}.parquet").exists() else sorted((folder / name).iterdir())
        )
        assert relation.count("*").fetchall() == [(sum(pq.read_metadata(f).num_rows for f in files),)]
    with pytest.raises(AttributeError, match="its tables are images"):
        _ = opened.nothing


def test_queries_join_tables(opened: Atlas) -> None:
    sql = "SELECT layer, count(*) FROM examples JOIN images USING (image_id) GROUP BY layer ORDER BY layer"
    assert opened.query(sql).fetchall() == [("block.conv@2", 140), ("conv1", 168), ("fc", 112)]
    assert opened.neurons.filter("channel = 0").count("*").fetchall() == [(3,)]


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO '{}/x.csv'",
        "COPY neurons TO '{}/neurons.parquet'",
        "SELECT * FROM read_csv('{}/atlas.json')",
        "ATTACH '{}/x.db'",
        "EXPORT DATABASE '{}/x'",
        "SELECT * FROM '{}/neurons.parquet'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SELECT * FROM read_text('/etc/passwd')",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{}/y'",
    ],
)
def test_a_query_reaches_no_file(opened: Atlas, folder: Path, sql: str) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with pytest.raises((duckdb.Error, FolderError)):
        opened.query(sql.replace("{}", str(folder))).fetchall()
    with pytest.raises((duckdb.Error, FolderError)):
        opened.neurons.write_parquet(str(folder / "z.parquet"))
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_examples_of_every_neuron(opened: Atlas, folder: Path) -> None:
    store = opened.store
    expected: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in rows(folder, "examples"):
        expected.setdefault((row["layer"], row["channel"]), []).append(row)
    explained: dict[tuple[str, int, str, int], dict[str, Any]] = {}
    for row in rows(folder, "explanations"):
        key = (row["layer"], row["channel"], row["side"], row["rank"])
        explained.setdefault(key, {})[row["kind"]] = row
    images = {row["image_id"]: row for row in rows(folder, "images")}
    for (layer, channel), mine in expected.items():
        found = store.examples.of(store.layers.number(layer, channel))
        assert [(e.side, e.rank, e.image_id, e.response, e.y, e.x) for e in found] == [
            (r["side"], r["rank"], r["image_id"], r["response"], r["y"], r["x"]) for r in mine
        ]
        for example, row in zip(found, mine, strict=True):
            assert example.field == tuple(row[f"field_{edge}"] for edge in ("left", "top", "right", "bottom"))
            assert example.box == tuple(row[f"image_{edge}"] for edge in ("left", "top", "right", "bottom"))
            assert example.duplicate_of == row["duplicate_of"]
            image = images[row["image_id"]]
            assert (example.class_id, example.width, example.height) == (
                image["class_id"],
                image["width"],
                image["height"],
            )
            assert example.cell == tuple(row[f"cell_{edge}"] for edge in ("left", "top", "right", "bottom"))
            drawn = explained.get((layer, channel, example.side, example.rank), {})
            assert example.pictures.keys() == drawn.keys()
            places = [(example.crop, row["crop"]), *((example.pictures[k][0], drawn[k]["picture"]) for k in drawn)]
            for place, said in places:
                assert place.why == said["why"]
                assert place.pack == said["pack"]
                if said["pack"]:
                    assert (place.offset, place.length, place.seed, place.scale) == (
                        said["offset"],
                        said["length"],
                        said["seed"],
                        said["scale"],
                    )
            for kind, each in drawn.items():
                values = tuple(each[name] for name in MEASURES)
                assert example.pictures[kind][1] == (None if values[0] is None else values)


def test_neurons_that_hold_every_image(opened: Atlas, folder: Path) -> None:
    store = opened.store
    expected: dict[int, set[tuple[str, int, str, int]]] = {}
    for row in rows(folder, "examples"):
        expected.setdefault(row["image_id"], set()).add((row["layer"], row["channel"], row["side"], row["rank"]))
    for image in rows(folder, "images"):
        at = store.images.row(image["image_id"])
        found, total = store.examples.holding(at, 0, 1000)
        mine = {(*store.layers.neuron(number), example.side, example.rank) for number, example in found}
        assert mine == expected.get(image["image_id"], set())
        assert total == len(mine)


def test_every_image(opened: Atlas, folder: Path) -> None:
    images = opened.store.images
    for row in rows(folder, "images"):
        found = images.get(row["image_id"])
        for name in ("image_id", "source", "key", "class_id", "width", "height", "predicted", "probability", "loss"):
            assert getattr(found, name) == row[name], name
        assert (found.thumbnail.pack, found.thumbnail.offset) == (row["thumbnail"]["pack"], row["thumbnail"]["offset"])
        assert images.name(row["class_id"]) == row["class_name"]
    for row in rows(folder, "quarantine"):
        with pytest.raises(NotFoundError, match="quarantine"):
            images.get(row["image_id"])
    for wrong in (-1, 10**6, 2**62):
        with pytest.raises(NotFoundError):
            images.get(wrong)


def test_gaps_among_image_numbers(tmp_path: Path, folder: Path) -> None:
    """Quarantined images leave holes anywhere; rows are found all the same."""
    from atlas.read.images import Images
    from atlas.read.pictures import Packs
    from atlas.store.files import Folder

    table = pq.read_table(folder / "images.parquet")
    rng = np.random.default_rng(0)
    ids = np.sort(rng.choice(200, len(table), replace=False))
    pq.write_table(table.set_column(0, table.schema.field(0), [ids]), tmp_path / "images.parquet")
    images = Images(Folder(str(tmp_path)), Packs(Folder(str(tmp_path))))
    assert images.rows_of(ids, "test").tolist() == list(range(len(ids)))
    for image in range(-2, 203):
        if image in ids:
            assert images.row(image) == list(ids).index(image)
            assert images.get(image).image_id == image
        else:
            with pytest.raises(NotFoundError):
                images.row(image)
            with pytest.raises(FolderError):
                images.rows_of(np.array([image]), "test")


@pytest.mark.parametrize("sort", ["max", "mean", "activation_rate", "selectivity"])
def test_neurons_sort_as_duckdb_does(opened: Atlas, sort: str) -> None:
    store = opened.store
    for descending, order in ((False, "ASC"), (True, "DESC")):
        numbers = store.neurons.select(range(6), sort=sort, descending=descending)
        sql = f"SELECT channel FROM neurons WHERE layer = 'conv1' ORDER BY {sort} {order}, channel"
        assert numbers.tolist() == [row[0] for row in opened.query(sql).fetchall()]


def test_pictures_are_read_and_checked(opened: Atlas, folder: Path, tmp_path: Path) -> None:
    packs = opened.store.packs
    for row in rows(folder, "examples")[:40]:
        place = row["crop"]
        body, kind = packs.read(place["pack"], place["offset"], place["length"])
        assert kind == "image/png"
        assert Image.open(io.BytesIO(body)).size == (8, 8)
    for wrong in (
        (place["pack"], place["offset"] + 1, place["length"]),
        (place["pack"], place["offset"], place["length"] - 1),
        ("none.tar", 0, 1),
        ("../atlas.json", 0, 10),
        (place["pack"], 0, 512),
        (place["pack"], 2**60, 5),
    ):
        with pytest.raises(NotFoundError):
            packs.read(*wrong)
    copied = tmp_path / "copied"
    shutil.copytree(folder, copied)
    again = Atlas(copied)
    _ = again.store
    pack = copied / "pictures" / place["pack"]
    body = bytearray(pack.read_bytes())
    body[place["offset"] + 40] ^= 1
    pack.write_bytes(bytes(body))
    with pytest.raises(PictureError, match="damaged"):
        again.store.packs.read(place["pack"], place["offset"], place["length"])


def test_a_pack_outside_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(folder, copied)
    table = pq.read_table(copied / "filters.parquet").to_pylist()
    for row in table:
        row["picture"]["pack"] = "../../secret.tar"
    import pyarrow as pa

    pq.write_table(pa.Table.from_pylist(table, FILTERS.columns), copied / "filters.parquet")
    with pytest.raises(FolderError, match="expected the name"):
        _ = Atlas(copied, verify=False).store


def test_damage_is_found_when_it_is_opened(folder: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(folder, copied)
    table = copied / "neurons.parquet"
    body = bytearray(table.read_bytes())
    body[len(body) // 2] ^= 1
    table.write_bytes(bytes(body))
    with pytest.raises(FolderError, match=r"neurons\.parquet is damaged"):
        atlas.open(copied)
    atlas.open(copied, verify=False)
    with pytest.raises(FolderError, match="not a sealed atlas"):
        atlas.open(tmp_path)


def test_search_by_hand(opened: Atlas) -> None:
    assert [hit.key for hit in search(opened, "conv1")] == [("conv1",)]
    assert ("conv1", 5) in [hit.key for hit in search(opened, "conv1 5")]
    assert ("conv1", 6) not in [hit.key for hit in search(opened, "conv1 6")]
    assert [hit.kind for hit in search(opened, "deer")] == ["class"]
    assert len(search(opened, ".jpg")) == 50
    assert search(opened, "  ") == []


def test_methods_give_objects(opened: Atlas, folder: Path) -> None:
    neuron = opened.neuron("fc", 2)
    assert (neuron.layer, neuron.channel, neuron.max) == ("fc", 2, 18.0)
    assert neuron.examples.select("side, rank").limit(2).fetchall() == [("max", 0), ("max", 1)]
    assert neuron.examples.to_arrow_table().num_rows == 28
    assert set(neuron.similar.select('"by"').fetchall()) == {("code",), ("classes",), ("responses",)}
    place = neuron.examples.select("crop").limit(1).fetchall()[0]
    assert opened.picture_bytes(place[0]).startswith(b"\x89PNG")
    assert np.array_equal(
        np.asarray(neuron.picture()), np.asarray(Image.open(io.BytesIO(opened.picture_bytes(place[0]))))
    )
    assert len(neuron.pictures("spread")) == 10
    with pytest.raises(NotFoundError, match="not asked for"):
        opened.picture_bytes(next(p for (p,) in neuron.explanations.select("picture").fetchall() if p["why"]))
    with pytest.raises(NotFoundError, match="no picture 'crop' of side 'max', rank 99"):
        neuron.picture(rank=99)
    with pytest.raises(NotFoundError, match="channel 9"):
        opened.neuron("fc", 9)
    image = opened.image(7)
    assert image.key.endswith("/7.jpg")
    assert image.examples.select("image_id").distinct().fetchall() == [(7,)]
    assert image.thumbnail.size == Image.open(io.BytesIO(opened.picture_bytes(image.row["thumbnail"]))).size
    assert opened.info()["digest"] == opened.about["digest"]
    assert opened.verify().ok
    assert opened.responses.select("len(max)").distinct().order("1").fetchall() == [(4,), (5,), (6,)]
