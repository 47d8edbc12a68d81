"""Decoding by tasks anywhere in the cluster: the same images in the same order, bounded, and the same digest."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from atlas.errors import JobError, SettingsError
from atlas.images import manifest
from atlas.images.content import ALL
from atlas.images.decode import Preprocessing
from atlas.images.feed import Decoded, Feed, Quarantined
from jobs import cluster, decoders
from jobs.build import build
from jobs.cluster import planned
from tests import tiny

PREPROCESSING = Preprocessing(16, 16, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bilinear")


def png(seed: int) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 24, 3), np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def write(folder: Path) -> pa.Table:
    """A folder of 70 files, one of them damaged, and a Parquet file of 50 rows in row groups of 20: their manifest."""
    (folder / "files").mkdir(parents=True)
    for number in range(70):
        (folder / "files" / f"{number:03d}.png").write_bytes(png(number) if number != 5 else b"damaged")
    table = pa.table({"image": [png(100 + number) for number in range(50)], "label": [0] * 50})
    pq.write_table(table, folder / "rows.parquet", row_group_size=20)
    return manifest.list_images([str(folder / "files"), str(folder / "rows.parquet")]).table


def test_row_groups_stay_whole_and_files_are_cut_anywhere(tmp_path: Path) -> None:
    rows = write(tmp_path)
    assert list(manifest.stretches(rows, 64)) == [(0, 64), (64, 70), (70, 90), (90, 110), (110, 120)]
    assert list(manifest.stretches(rows.slice(95, 20), 64)) == [(0, 15), (15, 20)]
    assert list(manifest.stretches(rows.slice(0, 0), 64)) == []


def test_tasks_give_what_threads_give(tmp_path: Path, embedded_ray: None) -> None:
    rows = write(tmp_path)
    feed = Feed(PREPROCESSING, 8, 1, 16, 0, ALL // 2)
    found = list(decoders.remote(feed, 2).images(rows))
    for ours, expected in zip(found, feed.images(rows), strict=True):
        if isinstance(expected, Quarantined):
            assert ours == expected
            continue
        assert isinstance(ours, Decoded)
        assert (ours.image_id, ours.width, ours.height, ours.thumbnail) == (
            (expected.image_id, expected.width, expected.height, expected.thumbnail)
        )
        np.testing.assert_array_equal(ours.pixels, expected.pixels)
        if expected.properties is None:
            assert ours.properties is None
        else:
            assert ours.properties is not None
            np.testing.assert_array_equal(ours.properties, expected.properties)
    assert sum(isinstance(image, Quarantined) for image in found) == 1


def test_what_a_task_raises_is_raised_here(tmp_path: Path, embedded_ray: None) -> None:
    rows = write(tmp_path)
    for path in (tmp_path / "files").iterdir():
        path.unlink()
    (tmp_path / "files").rmdir()
    with pytest.raises(JobError, match="the folder is gone"):
        list(decoders.remote(Feed(PREPROCESSING, 8, 1, 16, 0, ALL // 2), 2).images(rows))


def test_who_stops_half_way_leaves_no_task_behind(tmp_path: Path, embedded_ray: None) -> None:
    """Tasks that wait for someone to take their parts would hold their CPUs for ever."""
    rows = write(tmp_path)
    feed = decoders.remote(Feed(PREPROCESSING, 8, 1, 16, 0, ALL // 2), 4)
    for _ in range(3):
        some = feed.images(rows)
        assert next(some).image_id == 0
        del some
    assert len(list(feed.images(rows))) == len(rows)


def test_tasks_stay_within_the_bytes_in_flight() -> None:
    image = 3 * 224 * 224
    assert decoders.tasks_at_once(8, 2, 512 * 2**20, image) == 5  # its share, and one that waits
    assert decoders.tasks_at_once(800, 2, 512 * 2**20, image) * decoders.STRETCH * image <= 512 * 2**20
    assert decoders.tasks_at_once(1, 8, 1, image) == 1


def test_the_digest_is_that_of_workers_who_decode_themselves(
    tiny_root: Path, tiny_atlas: Path, tmp_path: Path, embedded_ray: None
) -> None:
    from atlas.read.catalog import Atlas

    digest = build(tiny.settings(tiny_root, tmp_path / "atlas", workers="2", decoders="2"))
    assert digest == Atlas(tiny_atlas).about["digest"]


def test_decoders_need_cpus_beside_the_workers(tiny_root: Path, tmp_path: Path, embedded_ray: None) -> None:
    with pytest.raises(SettingsError, match="--decoders 3: 2 workers leave 2 of 4 CPUs"):
        build(tiny.settings(tiny_root, tmp_path / "atlas", workers="2", decoders="3"))
    found = planned(tiny.settings(tiny_root, tmp_path / "atlas", workers="auto", decoders="3"), 8)
    assert (found.count, found.decoders) == (8, 3)  # an embedded Ray is made as large as that takes


@pytest.mark.parametrize(("cores", "gpus", "expected"), [(32, 8, 24), (8, 8, 0), (4, 8, 0), (32, 0, 0)])
def test_a_cluster_with_gpus_decodes_on_all_other_cpus(tmp_path: Path, cores: int, gpus: int, expected: int) -> None:
    chosen = tiny.settings(tmp_path, workers="auto", device="auto", address="auto")
    assert cluster._workers(chosen, cores, float(gpus)).decoders == expected


def test_more_workers_than_cpus_are_still_asked_for(tmp_path: Path) -> None:
    """A cluster may grow: the job runs on the workers that there is room for."""
    assert cluster._workers(tiny.settings(tmp_path, workers="12", address="auto"), 4, 0.0).count == 12
