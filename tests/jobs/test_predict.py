"""`--plan`: arithmetic by hand, a real small measurement, and nothing written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from atlas.errors import SettingsError
from jobs import cli, stages
from jobs.build import build
from jobs.forecast import RAY_SECONDS, Rates, Todo, decoding, distinct, forecast, output_bytes
from jobs.predict import measure
from jobs.predicted import limit, size, text
from tests import tiny

TODO = Todo(
    images=10_000, left=10_000, chunk=1000, neurons=100, layers=3, classes=10, sample=4096, dimensions=64,
    half_codes=False, examples=2800, harvest_images=2000,
)  # fmt: skip
RATES = Rates(
    together=2, scan=200.0, harvest=100.0, decode_cpu=0.005, network=0.01, waiting=0.0, storage=1000.0, start=4.0,
    plan=1.0, fold=0.1, sanity=2.0, filters=1.0, core=1.0, hash=1e9, image_bytes=1000.0, thumbnail_bytes=100.0,
    picture_bytes=5000.0, partial_bytes=1e6, memory=10**9, driver_memory=10**9,
)  # fmt: skip


@pytest.mark.parametrize(
    ("workers", "scan", "harvest"),
    [(1, 100.0, 56.0), (2, 50.0, 28.0), (5, 20.0, 11.2), (10, 10.0, 5.6), (100, 10.0, 2800 / 50 / 31.25)],
)
def test_workers_share_whole_units(workers: int, scan: float, harvest: float) -> None:
    seconds = forecast(TODO, RATES, workers).seconds
    assert seconds["scan"] == pytest.approx(scan, rel=0.06)
    assert seconds["harvest"] == pytest.approx(harvest)
    assert seconds["sanity"] == pytest.approx(6.0 / min(workers, 3))


def test_what_is_done_already_is_not_done_again() -> None:
    before = forecast(TODO, RATES, 2).seconds["scan"]
    assert forecast(replace(TODO, left=5000), RATES, 2).seconds["scan"] == pytest.approx(before / 2, rel=0.1)
    assert forecast(replace(TODO, left=0), RATES, 2).seconds["scan"] == 0


def test_parts_are_added_with_their_own_start() -> None:
    """Three examples a side of 100 neurons: half of 196 squares of them at 0.01 s a call, whoever was measured."""
    options = stages.part("occlusion").options_class()(examples=3)
    alone = forecast(TODO, RATES, 1)
    both = forecast(TODO, RATES, 1, {"occlusion": options, "attributes": stages.part("attributes").options_class()()})
    assert {name: both.seconds[name] for name in alone.seconds} == alone.seconds
    begun = RAY_SECONDS + RATES.start
    own = stages.named("occlusion").load().seconds(replace(TODO, options=options), RATES, 1)
    assert both.seconds["occlusion"] == pytest.approx(begun + own)
    assert both.total > alone.total + 2 * begun
    fewer = forecast(replace(TODO, asked=10), RATES, 1, {"occlusion": options})
    assert fewer.seconds["occlusion"] - begun == pytest.approx(own / 10)
    assert set(both.with_workers(8).seconds) == set(both.seconds)


def test_decoders_are_the_limit_or_the_cores_are() -> None:
    def rate(workers: int, decoders: int, cores: int) -> float:
        found = decoding(replace(RATES, together=workers, decode_cpu=0.02), workers, decoders, 1, cores)
        return found.scan / workers

    assert rate(1, 0, 2) == 200.0  # as it was measured
    assert rate(1, 8, 16) == pytest.approx(100.0)  # the network
    assert rate(1, 1, 16) == pytest.approx(50.0)  # one core that decodes
    assert rate(2, 1, 16) == pytest.approx(25.0)  # shared by two
    assert rate(2, 2, 2) == pytest.approx(1 / 0.03)  # each core does both
    waiting = decoding(replace(RATES, decode_cpu=0.02), 1, 1, 1, 16).waiting
    assert waiting == pytest.approx(0.01)


def test_images_that_are_examples() -> None:
    assert distinct(1000, 10**6, 10**6, 1000) == 1000
    assert distinct(10**9, 0, 10, 4096) == 10
    assert distinct(0, 1, 1, 1) == 0
    # The atlas of CIFAR-10's test images with ResNet-20 had 6,678 images behind its 16,578 + 10,310 examples.
    assert distinct(10_000, 16_578, 10_310, 4096) == pytest.approx(6678, rel=0.1)


def test_the_limit_is_named() -> None:
    def said(**changes: Any) -> str:
        return limit(forecast(TODO, replace(RATES, **changes), 2))

    assert said() == "the network is the limit"
    assert said(waiting=0.02) == "decoding is the limit"
    assert said(storage=90.0) == "storage is the limit"


def test_sizes_in_words() -> None:
    assert [size(n) for n in (0, 999, 1000, 12_345, 1.5e9, 3e15)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "12 kB",
        "1.5 GB",
        "3000 TB",
    ]
    assert "time" in text(forecast(TODO, RATES, 2))


@pytest.mark.slow
def test_measures_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str], embedded_ray: None) -> None:
    root = tiny.write_inputs(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert cli.main(tiny.arguments(tiny.settings(root, k=3, projections=("gradient",)), "--plan")) == 0
    said = capsys.readouterr().out
    assert "153 images" in said
    for word in ("limit", "memory", "output", "images/s a worker", "with 64"):
        assert word in said
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_sizes_are_those_of_the_atlas(tiny_root: Path, tiny_atlas: Path, tmp_path: Path) -> None:
    found = measure(tiny.settings(tiny_root, tmp_path / "none"))
    sizes = output_bytes(found.todo, found.rates)
    packs = {path.name: path.stat().st_size for path in tiny_atlas.glob("pictures/*.tar")}
    scan = sum(length for name, length in packs.items() if name.startswith("scan"))
    assert sizes["thumbnails"] == pytest.approx(scan, rel=0.2)
    assert sizes["pictures"] == pytest.approx(sum(n for k, n in packs.items() if k.startswith("harvest")), rel=0.3)


def test_refuses_what_build_refuses(tmp_path: Path, embedded_ray: None) -> None:
    root = tiny.write_inputs(tmp_path, count=8)
    build(tiny.settings(root, k=1, projections=(), evidence=0))
    with pytest.raises(SettingsError, match="holds a build with other settings"):
        measure(tiny.settings(root, k=2, projections=(), evidence=0))
