"""Workers and devices: how many, where, and what is said when a device is not there or too small."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from atlas.errors import DeviceMemoryError, JobError, SettingsError
from atlas.images import decode
from atlas.network import nvjpeg
from atlas.network.transfer import Download
from atlas.store import layout
from atlas.store.files import Folder
from jobs import build as building
from jobs.build import build
from jobs.cluster import planned
from jobs.planning.plan import make_plan
from jobs.pool import Pool
from tests import tiny

OPTIONS: dict[str, Any] = {"k": 2, "sample": 20, "chunk_size": "16", "projections": (), "evidence": 0}
SMALL = """
import torch
from tests import tiny_net

class Net(tiny_net.Tiny):
    def forward(self, x):
        if x.shape[0] > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().forward(x)

def net():
    return Net()
"""


@pytest.mark.parametrize(
    ("workers", "threads", "cores", "expected"),
    [("auto", 1, 8, (8, 1)), ("2", 1, 8, (2, 3)), ("4", 2, 8, (4, 1)), ("auto", 2, 8, (4, 1)), ("12", 1, 8, (12, 1))],
)
def test_workers_share_the_cores(workers: str, threads: int, cores: int, expected: tuple[int, int]) -> None:
    found = planned(tiny.settings(Path("unused"), workers=workers, threads=threads), cores)
    assert (found.count, found.decode_threads) == expected


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
def test_a_device_that_is_not_there_is_refused_before_anything_starts(tmp_path: Path) -> None:
    root = tiny.write_inputs(tmp_path, count=4)
    for options, said in (
        ({"device": "cuda"}, "--device cuda: torch finds no CUDA device"),
        ({"decode": "gpu"}, "--decode gpu: needs a CUDA device"),
    ):
        with pytest.raises(SettingsError, match=said):
            build(tiny.settings(root, **options))
    assert not (root / "atlas").exists()


def test_what_nvjpeg_does_not_take_is_decoded_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    image = tiny.picture(0)
    asked: list[int] = []

    def on_device(body: bytes) -> torch.Tensor:
        asked.append(len(body))
        if len(asked) > 1:
            raise RuntimeError("nvjpegDecode failed: 5")
        return torch.from_numpy(np.array(Image.open(io.BytesIO(body)).convert("RGB"))).permute(2, 0, 1)

    monkeypatch.setattr(nvjpeg, "_decode_jpeg", on_device)
    for kind, calls in (("jpg", 1), ("jpg", 2), ("png", 2)):
        body = tiny.encoded(image, kind)
        assert np.array_equal(np.asarray(nvjpeg.decode(body)), np.asarray(decode.decode(body)))
        assert len(asked) == calls


def test_what_is_here_is_not_fetched() -> None:
    (same,) = Download([torch.arange(3)]).get()
    assert same.tolist() == [0, 1, 2]


def test_too_little_memory_on_the_device_halves_the_batch(
    tmp_path: Path, embedded_ray: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["."]))
    root = tiny.write_inputs(tmp_path, count=20)
    (root / "small.py").write_text(SMALL)
    settings = tiny.settings(root, network=f"{root}/small.py:net", **OPTIONS)  # batches of 8
    digest = build(settings)
    said = capsys.readouterr().err
    assert "too small for --batch-size 8" in said
    assert "goes on with --batch-size 4" in said
    assert build(settings) == digest  # the same command finds its atlas
    assert "nothing to do" in capsys.readouterr().err


def test_once_a_chunk_is_committed_the_job_stops_and_says_so(tmp_path: Path) -> None:
    root = tiny.write_inputs(tmp_path, count=20)
    plan, _ = make_plan(tiny.settings(root, **OPTIONS))
    folder = Folder(str(root / "atlas"))
    error = DeviceMemoryError("scan of chunk 1: the memory of cuda is too small for --batch-size 8")
    assert building.smaller(folder, plan, error).settings.batch_size == 4
    folder.put(layout.scan_chunk(0), b"")
    with pytest.raises(DeviceMemoryError, match="too small for --batch-size 8"):
        building.smaller(folder, plan, error)


def test_workers_that_do_not_start_stop_the_job(embedded_ray: None) -> None:
    import ray

    @ray.remote
    class Broken:
        def __init__(self) -> None:
            raise OSError("no space left for the network")

        def status(self) -> None: ...

    pool = Pool(lambda: Broken.options(num_cpus=0).remote(), 1, 1)
    with pytest.raises(JobError, match=r"workers do not start: 2 in a row.*no space left for the network"):
        pool.run([0], lambda actor, chunk: actor.status.remote(), print)
    pool.close()


def test_a_chunk_that_fails_everywhere_stops_the_job_by_name(embedded_ray: None) -> None:
    import ray

    @ray.remote
    class Failing:
        def status(self) -> int:
            return 0

        def work(self, chunk: int) -> int:
            if chunk == 3:
                raise ValueError("a number that is none")
            return chunk

    done: list[int] = []
    pool = Pool(lambda: Failing.options(num_cpus=0).remote(), 2, 2)
    with pytest.raises(JobError, match="images 48 to 63 failed 3 times, last with ValueError: a number that is none"):
        pool.run(
            range(5),
            lambda actor, chunk: actor.work.remote(chunk),
            done.append,
            describe=lambda chunk: "images 48 to 63",
        )
    assert set(done) == {0, 1, 2, 4}
    assert pool.redone == 2
    pool.close()
