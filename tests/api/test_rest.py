"""Every route of the contract: its fields are those documented, its lists page, its numbers are the tables'."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pydantic import TypeAdapter

from api.app import create_app
from api.views import VIEWS
from api.views.health import Health
from api.views.index import AtlasList
from api.views.sectioned import model as whole
from atlas.explain.kinds import SHOWN
from atlas.tables.columns import MEASURES
from tests import constructed
from tests.api.conftest import ODD
from tests.api.serving import serving

A = "/api/v1/atlases/plain"
MODELS = {view.name: whole(view) for view in VIEWS}
ANSWERS: list[tuple[str, Any]] = [
    ("/api/v1/health", Health),
    ("/api/v1/atlases", AtlasList),
    (A, MODELS["atlas"]),
    (f"{A}/layers", MODELS["layers"]),
    (f"{A}/layers/conv1", MODELS["layer"]),
    (f"{A}/layers/conv1/filters", MODELS["filters"]),
    (f"{A}/layers/block.conv%402/neurons", MODELS["neurons"]),
    (f"{A}/layers/fc/neurons?sort=selectivity&order=asc&class=1&dead=false&limit=2", MODELS["neurons"]),
    (f"{A}/neurons/conv1/0", MODELS["neuron"]),
    (f"{A}/neurons/fc/3", MODELS["neuron"]),
    (f"{A}/images", MODELS["images"]),
    (f"{A}/images?class=2&limit=3", MODELS["images"]),
    (f"{A}/images/5", MODELS["image"]),
    (f"{A}/images/5/neighbours?k=4", MODELS["neighbours"]),
    (f"{A}/classes", MODELS["classes"]),
    (f"{A}/classes/1", MODELS["class"]),
    (f"{A}/map?kind=pca", MODELS["map"]),
    (f"{A}/search?q=conv", MODELS["search"]),
    (f"{A}/search?q=conv%201", MODELS["search"]),
    (f"{A}/quarantine", MODELS["quarantine"]),
    (f"{A}/sanity?limit=5", MODELS["sanity"]),
    (f"{A}/parts", MODELS["parts"]),
    (f"{A}/words?q=bear", MODELS["words"]),
]


def get(client: httpx.Client, path: str) -> Any:
    answer = client.get(path)
    assert answer.status_code == 200, (path, answer.text)
    return answer.json()


@pytest.mark.parametrize(("path", "model"), ANSWERS, ids=[path for path, _ in ANSWERS])
def test_fields_are_those_that_are_documented(service: httpx.Client, path: str, model: Any) -> None:
    answer = service.get(path)
    assert answer.status_code == 200, answer.text
    TypeAdapter(model).validate_python(answer.json(), strict=True)  # none is missing, none is unknown


def test_every_field_is_described() -> None:
    for _, model in ANSWERS:
        schema = TypeAdapter(model).json_schema()
        for name, each in {**schema.get("$defs", {}), "": schema}.items():
            for key, value in each.get("properties", {}).items():
                assert value.get("description"), f"{name}.{key}"
            if not name.endswith("Sections"):  # of these there is only what has something to say
                assert set(each.get("required", [])) == set(each.get("properties", {}))


def test_every_route_has_an_answer_here() -> None:
    asked = {model for _, model in ANSWERS}
    elsewhere = {
        "part",
        "connections",
        "attributes",
        "flips",
        "comparison",
        "walls",
        "probe",
        "probe_places",
        "probe_accuracy",
    }  # fmt: skip - tests/api/test_{parts,attributes,comparisons}.py, tests/jobs/test_connections.py, tests/probe
    assert {view.name for view in VIEWS if view.model and MODELS[view.name] not in asked} == elsewhere


def test_a_neuron_says_what_its_tables_say(service: httpx.Client, atlases: Path) -> None:
    neuron = get(service, f"{A}/neurons/block.conv%402/3")
    rows = pq.read_table(atlases / "plain/examples.parquet").to_pylist()
    mine = [row for row in rows if row["layer"] == "block.conv@2" and row["channel"] == 3]
    assert {side: len(examples) for side, examples in neuron["examples"].items()} == {"max": 9, "min": 9, "spread": 10}
    explained: dict[tuple[str, int], dict[str, Any]] = {}
    for row in pq.read_table(atlases / "plain/explanations.parquet").to_pylist():
        if row["layer"] == "block.conv@2" and row["channel"] == 3:
            explained.setdefault((row["side"], row["rank"]), {})[row["kind"]] = row
    assert {kind for kinds in explained.values() for kind in kinds} == set(SHOWN)
    for row in mine:
        said = neuron["examples"][row["side"]][row["rank"]]
        for name in ("rank", "image_id", "response", "y", "x", "duplicate_of"):
            assert said[name] == row[name], name
        for edge in ("left", "top", "right", "bottom"):
            assert said["field"][edge] == row[f"field_{edge}"]
            assert said["box"][edge] == row[f"image_{edge}"]
        for edge in ("left", "top", "right", "bottom"):
            assert said["cell"][edge] == row[f"cell_{edge}"]
        drawn = explained.get((row["side"], row["rank"]), {})
        assert said["pictures"].keys() == drawn.keys()
        pairs = [(said["crop"], row["crop"]), *((said["pictures"][kind], drawn[kind]["picture"]) for kind in drawn)]
        for told, picture in pairs:
            assert told["why"] == picture["why"]
            assert (told["seed"], told["scale"]) == (picture["seed"], picture["scale"])
            if picture["pack"]:
                assert told["url"] == f"{A}/pictures/{picture['pack']}/{picture['offset']}-{picture['length']}"
        for kind, each in drawn.items():
            for name in MEASURES:
                assert said["pictures"][kind][name] == each[name]
    row = next(
        r
        for r in pq.read_table(atlases / "plain/neurons.parquet").to_pylist()
        if r["layer"] == "block.conv@2" and r["channel"] == 3
    )
    for name in (
        "images",
        "mean",
        "std",
        "min",
        "max",
        "activation_rate",
        "map_mean",
        "reference_max",
        "reference_min",
        "dead",
        "why_max",
        "why_min",
        "histogram",
    ):
        assert neuron[name] == row[name], name
    assert neuron["quantiles"] == {name: float(value) for name, value in row["quantiles"].items()}
    assert [(c["class_id"], c["mean"]) for c in neuron["classes"]] == [
        (c["class_id"], c["mean"]) for c in row["top_classes"]
    ]
    trust = [r for r in pq.read_table(atlases / "plain/trust.parquet").to_pylist() if r["layer"] == "block.conv@2"]
    names = (*MEASURES, "score", "n")
    assert neuron["trust"] == {r["kind"]: {n: r[n] for n in names} for r in trust if r["channel"] == 3}
    layer = get(service, f"{A}/layers/block.conv%402")
    assert layer["trust"] == {r["kind"]: {n: r[n] for n in names} for r in trust if r["channel"] is None}


def test_the_query_of_a_neuron_gives_it(service: httpx.Client, atlases: Path) -> None:
    import atlas

    opened = atlas.open(atlases / "odd")
    for name in ODD:
        neuron = get(service, f"/api/v1/atlases/odd%2Fatlas/neurons/{quote(name, safe='').replace('.', '%2E')}/1")
        assert neuron["layer"] == name
        rows = opened.query(neuron["query"]).fetchall()
        assert [row[:2] for row in rows] == [(name, 1)]


def test_every_link_leads_somewhere(service: httpx.Client) -> None:
    todo, seen = [f"{A}/neurons/conv1/1", "/api/v1/atlases", "/api/v1/atlases/odd%2Fatlas/layers"], set()
    while todo and len(seen) < 400:
        path = todo.pop(0)
        if path in seen:
            continue
        seen.add(path)
        answer = service.get(path)
        assert answer.status_code == 200, path
        if answer.headers["content-type"] == "application/json":
            todo += [link for link in _links(answer.json()) if link not in seen and "{" not in link]
    assert len(seen) == 400


def _links(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [link for each in value.values() for link in _links(each)]
    if isinstance(value, list):
        return [link for each in value for link in _links(each)]
    return [value] if isinstance(value, str) and value.startswith("/") and not value.startswith("//") else []


@pytest.mark.parametrize(
    "path",
    [
        f"{A}/layers/conv1/neurons?sort=max",
        f"{A}/images?class=1",
        f"{A}/images",
        f"{A}/classes",
        f"{A}/sanity",
        f"{A}/layers/conv1/filters",
        f"{A}/quarantine",
        f"{A}/layers/conv1/neurons?sort=trust&order=asc",
    ],
)
def test_pages_of_a_list_make_the_list(service: httpx.Client, path: str) -> None:
    mark = "&" if "?" in path else "?"
    whole = get(service, f"{path}{mark}limit=500")
    assert whole["next"] is None
    items, cursor = [], ""
    while True:
        page = get(service, f"{path}{mark}limit=2{cursor}")
        assert len(page["items"]) <= 2
        items += page["items"]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert items == whole["items"]


def test_an_images_neurons_page_too(service: httpx.Client) -> None:
    whole = get(service, f"{A}/images/5?limit=500")["neurons"]
    assert whole["total"] == len(whole["items"]) > 2
    page = get(service, f"{A}/images/5?limit=2")["neurons"]
    rest = get(service, f"{A}/images/5?limit=500")["neurons"]["items"]
    following = get(service, f"{A}/images/5?limit=2&cursor={page['next']}")["neurons"]
    assert page["items"] + following["items"] == rest[:4]


@pytest.mark.parametrize("sort", ["channel", "max", "mean", "activation_rate", "selectivity", "trust"])
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_neurons_are_sorted(service: httpx.Client, sort: str, order: str) -> None:
    items = get(service, f"{A}/layers/conv1/neurons?sort={sort}&order={order}")["items"]
    values = [item[sort] for item in items]
    assert values == sorted(values, reverse=order == "desc")
    assert len(items) == 6


def test_neurons_are_sorted_by_the_trust_of_a_kind(service: httpx.Client, atlases: Path) -> None:
    trust = pq.read_table(atlases / "plain/trust.parquet").to_pylist()
    mine = [r for r in trust if (r["layer"], r["kind"]) == ("conv1", "gradient") and r["channel"] is not None]
    items = get(service, f"{A}/layers/conv1/neurons?sort=trust&kind=gradient")["items"]
    best = sorted(mine, key=lambda r: -r["score"])
    assert [(item["channel"], item["trust"]) for item in items] == [(r["channel"], r["score"]) for r in best]
    first = get(service, items[0]["url"])["examples"]["max"][0]
    assert items[0]["pictures"][0]["projection"]["url"] == first["pictures"]["gradient"]["url"]
    refused = service.get(f"{A}/layers/conv1/neurons?sort=trust&kind=lime")
    assert refused.status_code == 422
    assert "expected one of deconvnet, guided" in refused.json()["detail"]


def test_neurons_are_filtered(service: httpx.Client) -> None:
    assert get(service, f"{A}/layers/conv1/neurons?dead=true")["items"] == []
    assert get(service, f"{A}/layers/conv1/neurons?dead=false")["total"] == 6
    assert get(service, f"{A}/layers/conv1/neurons?class=99")["total"] == 0


def test_a_class_that_is_no_neurons_top_class_shows_what_its_images_drive(tmp_path: Path) -> None:
    """Nine classes, of which a neuron keeps five: the sixth from channel 0 on is top class of none of two neurons."""
    shape = constructed.Shape(name="few", layers=(("a", 2), ("b", 1)), classes=tuple("pqrstuvwx"))
    folder = constructed.write(tmp_path / "few", shape)
    means = {(r["layer"], r["channel"]): r["mean"] for r in pq.read_table(folder / "classes.parquet").to_pylist()
             if r["class_id"] == 7}  # fmt: skip
    largest = {(r["layer"], r["channel"]): r["max"] for r in pq.read_table(folder / "neurons.parquet").to_pylist()}
    with serving(create_app([folder])) as address, httpx.Client(base_url=address) as client:
        said = get(client, "/api/v1/atlases/few/classes/7")
        assert said["neurons"] == []
        order = sorted(means, key=lambda neuron: -means[neuron] / largest[neuron])
        assert [(n["layer"], n["channel"]) for n in said["driven"]] == order
        assert "Neurons that its images drive" in client.get("/few/classes/7").text
        assert get(client, "/api/v1/atlases/few/classes/0")["driven"] == []


def test_what_is_found_has_a_picture(service: httpx.Client) -> None:
    hits = get(service, f"{A}/search?q=conv1%201")["items"] + get(service, f"{A}/search?q=bear")["items"]
    hits += get(service, f"{A}/search?q=7.jpg")["items"]
    assert {hit["kind"] for hit in hits} == {"neuron", "class", "image"}
    for hit in hits:
        assert service.get(hit["picture"]["url"]).status_code == 200
    assert get(service, f"{A}/search?q=conv1")["items"][0]["picture"] is None
    assert "10 images" in next(hit["detail"] for hit in hits if hit["kind"] == "class")
    text = service.get("/plain/search?q=bear", headers={"accept": "text/html"}).text
    assert hits[1]["picture"]["url"] in text


def test_images_of_a_class_are_its_images(service: httpx.Client) -> None:
    found = get(service, f"{A}/images?class=2&limit=500")["items"]
    assert len(found) == 10
    assert {item["class_id"] for item in found} == {2}
    assert [item["image_id"] for item in found] == sorted(item["image_id"] for item in found)
    class_ = get(service, f"{A}/classes/2")
    assert class_["images"]["items"] == found
    assert class_["accuracy"] == pytest.approx(np.mean([item["predicted"] == 2 for item in found]))


def test_an_image_is_held_by_those_that_say_so(service: httpx.Client, atlases: Path) -> None:
    rows = pq.read_table(atlases / "plain/examples.parquet").to_pylist()
    expected = {(r["layer"], r["channel"], r["side"], r["rank"]) for r in rows if r["image_id"] == 7}
    items = get(service, f"{A}/images/7?limit=500")["neurons"]["items"]
    assert {(i["layer"], i["channel"], i["side"], i["rank"]) for i in items} == expected


def test_neighbours_by_image_and_by_code_agree(service: httpx.Client, atlases: Path) -> None:
    codes = pq.read_table(atlases / "plain/codes/part-00000.parquet").to_pylist()
    code = next(row["code"] for row in codes if row["image_id"] == 5)
    by_image = get(service, f"{A}/images/5/neighbours?k=6")["items"]
    answer = service.post(f"{A}/neighbours", json={"code": code, "k": 7})
    assert answer.status_code == 200
    by_code = answer.json()["items"]
    assert by_code[0]["image_id"] == 5
    assert by_code[0]["similarity"] == pytest.approx(1, abs=1e-5)
    assert [n["image_id"] for n in by_code[1:]] == [n["image_id"] for n in by_image]
    matrix = np.array([row["code"] for row in codes])
    cosine = matrix @ np.array(code) / np.linalg.norm(matrix, axis=1) / np.linalg.norm(code)
    assert [n["similarity"] for n in by_code] == pytest.approx(sorted(cosine, reverse=True)[:7], abs=1e-5)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"code":[1]}',
        b'{"code":"x"}',
        b'{"code":[1,2,3,4,5,6,7,"x"]}',
        b'{"code":[1,2,3,4,5,6,7,true]}',
        b'{"code":[0,0,0,0,0,0,0,0]}',
        b'{"code":[1,1,1,1,1,1,1,1],"k":0}',
        b'{"code":[1,1,1,1,1,1,1,1],"k":true}',
        b'{"code":[1,1,1,1,1,1,1,1],"k":101}',
        b'{"code":[1,1,1,1,1,1,1,NaN]}',
        b'{"code":[1,1,1,1,1,1,1,1e400]}',
        b'{"code":[1,1,1,1,1,1,1,1],"x":1}',
        b"\xff",
        b'{"code":' + b"[" * 5000,
    ],
)
def test_a_body_that_is_no_code_is_refused(service: httpx.Client, body: bytes) -> None:
    answer = service.post(f"{A}/neighbours", content=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_map_as_arrow_is_the_map_as_json(service: httpx.Client) -> None:
    said = get(service, f"{A}/map?kind=tsne")
    answer = service.get(f"{A}/map?kind=tsne", headers={"Accept": "application/vnd.apache.arrow.stream"})
    assert answer.headers["content-type"] == "application/vnd.apache.arrow.stream"
    table = pa.ipc.open_stream(answer.content).read_all()
    assert set(table.column_names) == {"image_id", "x", "y", "grid_row", "grid_column", "class_id"}
    for name in table.column_names:
        assert table[name].to_pylist() == said[name], name
    assert said["kinds"] == ["tsne", "pca"]
    assert service.get(f"{A}/map?kind=umap").status_code == 404


def test_pictures_are_image_files_and_immutable(service: httpx.Client) -> None:
    example = get(service, f"{A}/neurons/conv1/0")["examples"]["max"][0]
    assert set(example["pictures"]) == set(SHOWN)
    whole = [example["crop"], example["thumbnail"], example["whole"], *example["pictures"].values()]
    for picture in whole:
        answer = service.get(picture["url"])
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        image = Image.open(io.BytesIO(answer.content))
        assert Image.MIME[image.format or ""] == answer.headers["content-type"]
        image.load()


def test_search_finds_each_kind(service: httpx.Client) -> None:
    def found(q: str) -> list[tuple[str, str]]:
        return [(hit["kind"], hit["name"]) for hit in get(service, f"{A}/search?q={quote(q)}")["items"]]

    assert found("CONV") == [("layer", "conv1"), ("layer", "block.conv@2")]
    assert ("neuron", "block.conv@2 3") in found("conv@2 3")
    assert ("class", "bear") in found("bea")
    assert ("image", "image 5") in found("5")
    assert ("image", "000/5.jpg") in found("000/5.J")
    assert found("") == []
    assert found("nothing like this") == []
    assert found("%_*'\";--") == []
