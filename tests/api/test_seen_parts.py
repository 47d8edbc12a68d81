"""Where classes are, and what fools the network, on the pages: numbers told again from the rows that were written."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pydantic import TypeAdapter

from api import views
from api.app import create_app
from api.views.sectioned import model
from atlas.store import layout, parquet, parts, seal
from atlas.store.files import Folder
from atlas.store.pictures import PackWriter, missing
from atlas.tables import Table
from atlas.tables.adversarial import ADVERSARIAL, CARRIERS, MARGINS
from atlas.tables.localization import LOCALIZATION
from tests import constructed
from tests.api.serving import serving

A = "/api/v1/atlases/plain"
MARGIN = {1: 0.5, 2: 0.1, 3: None, 4: 0.2}
"""Image: L2 norm."""
CHANGES = {
    ("linf", 0): 0.8, ("linf", 1): 0.4, ("linf", 2): 0.2, ("noise", 0): 0.1, ("noise", 1): 0.5, ("noise", 2): 0.1,
}  # fmt: skip
"""Attack and channel of conv1: change."""


def picture(pack: PackWriter, values: Any) -> dict[str, Any]:
    body = io.BytesIO()
    Image.fromarray(values).save(body, "PNG")
    return dict(pack.add(f"{pack.count}.png", body.getvalue()))


def located(pack: PackWriter, image: dict[str, Any], of: str) -> list[dict[str, Any]]:
    """The left half of an image by the mask, its middle half by what knows nothing."""
    width, height, crop = image["width"], image["height"], constructed.CROP
    centre = (width / 4, height / 4, 3 * width / 4, 3 * height / 4)
    found = {"saliency_grabcut": (0.0, 0.0, width / 2, float(height)), "centre": centre, "gaussian_grabcut": centre}
    light = np.tile(np.linspace(255, 0, crop).astype(np.uint8), (crop, 1))
    mask = np.zeros((crop, crop), bool)
    mask[:, : crop // 2] = True
    rows = []
    for method, (left, top, right, bottom) in found.items():
        cut = method == "saliency_grabcut"
        rows.append({
            "image_id": image["image_id"], "class_id": image["class_id"], "of": of, "method": method, "left": left,
            "top": top, "right": right, "bottom": bottom, "area": 0.5, "why": None,
            "iou": None if image["image_id"] % 8 else (0.9 if cut else 0.4),
            "saliency": picture(pack, light) if cut else missing("of one method"),
            "mask": picture(pack, mask) if cut else missing("of one method"),
        })  # fmt: skip
    return rows


def write(base: Path, name: str, tables: dict[Table, list[dict[str, Any]]]) -> None:
    folder = parts.folder_of(Folder(str(base)), name)
    for table, rows in tables.items():
        parquet.write(folder, table.name, pa.Table.from_pylist(rows, table.columns))
    about = {"name": name, "part": name, "version": 1, "base": seal.read_about(Folder(str(base)))["digest"]}
    about |= {"settings": {"identity": {}}, "summary": {}, "created": "", "timings": {}, "versions": {}}
    parts.seal_part(folder, about)


@pytest.fixture(scope="module")
def images(folder: Path) -> dict[int, dict[str, Any]]:
    return {row["image_id"]: row for row in pq.read_table(folder / "images.parquet").to_pylist()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = constructed.write(tmp_path_factory.mktemp("seen") / "plain", constructed.Shape(name="plain", images=16))
    images = pq.read_table(path / "images.parquet").to_pylist()
    part = parts.folder_of(Folder(str(path)), "localization")
    with part.writing(layout.pack_path("localization-000000.tar")) as stream:
        pack = PackWriter(stream, "localization-000000.tar")
        rows = [row for image in images[:-4] for of in ("predicted", "true") for row in located(pack, image, of)]
        pack.close()
    write(path, "localization", {LOCALIZATION: rows})
    margins = [{"image_id": i, "attack": "l2", "epsilon": each} for i, each in MARGIN.items()]
    margins += [{"image_id": i, "attack": "linf", "epsilon": 2 / 255} for i in (1, 2)]
    carried = [{"layer": "conv1", "channel": c, "attack": a, "change": each} for (a, c), each in CHANGES.items()]
    write(path, "adversarial", {ADVERSARIAL: [], MARGINS: margins, CARRIERS: carried})
    return path


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[httpx.Client]:
    with serving(create_app([folder])) as address, httpx.Client(base_url=address) as opened:
        yield opened


def told(client: httpx.Client, view: str, path: str, name: str) -> tuple[Any, str]:
    """A section, once its thing's answer fits its model, and the page."""
    answer = client.get(f"{A}/{path}")
    assert answer.status_code == 200, answer.text
    TypeAdapter(model(next(v for v in views.VIEWS if v.name == view))).validate_python(answer.json(), strict=True)
    page = client.get(f"/plain/{path}")
    assert page.status_code == 200, page.text
    return answer.json()["sections"].get(name), page.text


def test_the_map_the_mask_and_the_boxes_lie_on_the_picture(
    client: httpx.Client, images: dict[int, dict[str, Any]]
) -> None:
    section, page = told(client, "image", "images/8", "localization")
    width, height = images[8]["width"], images[8]["height"]
    # Resized so that the shorter side is the crop: the input is the middle square, as large as the shorter side.
    side, box = min(width, height), section["input"]
    assert (box["right"] - box["left"], box["bottom"] - box["top"]) == pytest.approx((side, side), rel=0.05)
    assert ((box["left"] + box["right"]) / 2, (box["top"] + box["bottom"]) / 2) == pytest.approx(
        (width / 2, height / 2), abs=1
    )
    for of in ("true", "predicted"):
        cut = next(r for r in section["items"] if r["of"] == of and r["method"] == "saliency_grabcut")
        assert f'class="layer layer-saliency" href="{cut["saliency"]["url"]}" x="{box["left"]}"' in page
        assert f'class="layer layer-outline" href="{cut["mask"]["url"]}" x="{box["left"]}"' in page
    assert [page.count(f'class="lay-{name}"') for name in ("saliency", "outline", "box", "alone", "centre")] == [1] * 5
    words = page.replace("\u202f", " ").replace("\xa0", " ")
    assert "overlaps a true one by 90 %, the box in the middle by 40 %" in words


def test_where_the_masks_of_a_class_lie(client: httpx.Client, images: dict[int, dict[str, Any]]) -> None:
    section, page = told(client, "class", "classes/0", "localization")
    last = sorted(images)[-4:]
    mine = [i for i, row in images.items() if row["class_id"] == 0 and i not in last]
    assert [each["image_id"] for each in section["items"]] == mine
    assert section["looked_at"] == len(mine)
    assert all(
        [each["box"][edge] for edge in ("left", "top", "right", "bottom")] == pytest.approx([0, 0, 0.5, 1])
        for each in section["items"]
    )
    assert section["centre"] == {"left": 0.25, "top": 0.25, "right": 0.75, "bottom": 0.75}
    worth = {each["method"]: each for each in section["overlaps"]}
    # Half the picture and its middle quarter share an eighth of it; together they are five eighths.
    assert worth["saliency_grabcut"]["centre"] == pytest.approx(0.2)
    assert worth["gaussian_grabcut"]["centre"] == 1
    judged = sum(i % 8 == 0 for i in mine)
    assert worth["saliency_grabcut"]["judged"] == judged
    assert worth["saliency_grabcut"]["right"] == (1 if judged else None)
    assert worth["centre"]["right"] == (0 if judged else None)
    assert page.count('class="mask-box"') == len(mine)
    assert page.count('class="middle"') == 1


def test_a_margin_stands_among_those_of_all_images(client: httpx.Client) -> None:
    section, page = told(client, "image", "images/4", "margins")
    (item,) = section["items"]
    assert item["epsilon"] == pytest.approx(0.2)
    assert item["median"] == pytest.approx(0.2)
    assert (item["below"], item["found"], item["n"]) == (0.25, 3, 4)
    assert item["all"] == pytest.approx([0.1, 0.2, 0.5])
    assert page.count('class="other"') == 3
    section, page = told(client, "image", "images/3", "margins")
    assert section["items"][0]["epsilon"] is None
    assert "None was found" in page
    section, page = told(client, "image", "images/1", "margins")
    assert [item["attack"] for item in section["items"]] == ["l2", "linf"]
    assert "2/255" in page


def test_how_far_an_attack_moves_a_neuron_beside_noise(client: httpx.Client) -> None:
    section, page = told(client, "neuron", "neurons/conv1/0", "carriers")
    assert section == pytest.approx(
        {"change": 0.8, "noise": 0.1, "layer_median": 0.4, "layer_noise": 0.1, "below": 1.0}
    )
    assert "says nothing of the attack" not in page
    assert "says nothing of the attack" in told(client, "neuron", "neurons/conv1/1", "carriers")[1]
    assert told(client, "neuron", "neurons/fc/1", "carriers")[0] is None
    section, page = told(client, "layer", "layers/conv1", "carriers")
    assert [(m["neuron"]["channel"], m["change"]) for m in section["items"]] == [
        (channel, pytest.approx(CHANGES["linf", channel])) for channel in (0, 1, 2)
    ]
    assert (section["median"], section["noise"], section["neurons"]) == (pytest.approx(0.4), pytest.approx(0.1), 3)
    assert told(client, "layer", "layers/fc", "carriers")[0] is None
