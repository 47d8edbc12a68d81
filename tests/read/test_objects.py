"""Neurons, layers, images and classes as objects, and how they show themselves in a notebook."""

from __future__ import annotations

import copy
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import atlas
from atlas.errors import InputError, NotFoundError
from atlas.read.catalog import Atlas
from atlas.read.objects import Thing
from tests import constructed

VOID = ("br", "img")


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    shape = constructed.Shape(name="<b>&odd", classes=("apple", "<i>bear</i>", "cat", "deer"), images=60)
    return atlas.open(constructed.write(tmp_path_factory.mktemp("objects") / "atlas", shape))


def things(opened: Atlas) -> list[Thing]:
    return [opened.neuron("block.conv@2", 1), opened.layer("conv1"), opened.image(3), opened.class_(1)]


class Balanced(HTMLParser):
    """Fails for a tag that is not closed in its place; collects addresses and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.addresses: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("which", range(5))
def test_it_shows_itself_whole_and_without_a_request(opened: Atlas, which: int) -> None:
    shown = [*things(opened), opened][which]._repr_html_()
    read = Balanced()
    read.feed(shown)
    assert not read.open
    assert not read.seen & {"script", "style", "link", "iframe"}
    assert all(address.startswith("data:image/png;base64,") for address in read.addresses)
    assert bool(read.addresses) == (which < 4)
    assert "<i>" not in shown  # names are text
    assert not re.search(r"(?<![-\w])(color|background)\s*:\s*(?!inherit|transparent)", shown)  # right on any paper
    assert len(shown) < 1_000_000
    what = ("block.conv@2 · 1", "Layer conv1", "Image 3", "Class 1 · <i>bear</i>", "Atlas <b>&odd")[which]
    assert what in read.text


def test_a_picture_stands_beside_its_number(opened: Atlas) -> None:
    neuron = opened.neuron("block.conv@2", 1)
    shown = neuron._repr_html_()
    response = neuron.examples.filter("side = 'max'").order("rank").select("response").limit(1).fetchall()
    assert len(response) == 1
    assert f"{response[0][0]:.3g}" in shown
    assert "trust" in shown


def test_attributes_are_columns_and_tables(opened: Atlas) -> None:
    neuron, layer, image, klass = things(opened)
    assert neuron == layer.opened.layer("block.conv@2")[1]
    assert hash(neuron) == hash(opened.neuron("block.conv@2", 1))
    assert neuron != image
    assert len(layer) == 6
    assert [each.channel for each in layer] == list(range(6))
    assert layer.neurons.count("*").fetchall() == [(6,)]
    assert image.neighbours(2) == opened.neighbours(3, 2)
    assert klass.images.count("*").fetchall() == opened.images.filter("class_id = 1").count("*").fetchall()
    assert klass.classes.count("*").fetchall() == [(15,)]
    assert {"max", "examples", "picture", "words"} <= set(dir(neuron))
    assert repr(neuron) == "Neuron('block.conv@2', 1)"
    assert copy.copy(neuron).channel == 1
    with pytest.raises(AttributeError, match="has no attribute 'nothing'; it has layer, channel, images"):
        _ = neuron.nothing
    with pytest.raises(InputError, match="expected a table of image_id"):
        image.rows("neurons")
    with pytest.raises(NotFoundError, match="class 77"):
        opened.class_(77)
    with pytest.raises(NotFoundError, match="layer 'nope'"):
        opened.layer("nope")


def test_a_layer_s_name_is_no_sql(tmp_path: Path) -> None:
    name = 'a\'; DROP TABLE "neurons"; --'
    opened = atlas.open(constructed.write(tmp_path / "atlas", constructed.Shape(layers=((name, 2),), images=20)))
    assert opened.neuron(name, 1).examples.select("channel").distinct().fetchall() == [(1,)]
