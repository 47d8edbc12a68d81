"""The simulator over the real scheduler: everything is done, and trouble costs what it must, not more."""

from __future__ import annotations

import random

import pytest

from bench import simulate
from bench.simulate import Stage, Trouble, winners
from jobs.schedule import ExhaustedError
from jobs.stages.harvest import cut

CALM = Trouble(0, 0, 1, 0, driver_lost=0, spread=0.0)


def test_without_trouble_it_is_as_fast_as_can_be() -> None:
    result = Stage([10.0] * 400, 20, 3, CALM, random.Random(0)).run()
    assert result.seconds == pytest.approx(200, abs=30)  # workers come up within 20 s
    assert (result.redone, result.doubled, result.failures, result.losses) == (0, 0, 0, 0)


@pytest.mark.parametrize("seed", range(5))
def test_trouble_is_survived(seed: int) -> None:
    trouble = Trouble(failing=0.02, slow_workers=0.05, lost_an_hour=2.0)
    result = Stage([60.0] * 2000, 100, 3, trouble, random.Random(seed)).run()
    assert result.redone <= result.failures + result.losses
    assert result.least / result.seconds > 0.55
    assert result.left_by_driver <= 100  # a driver costs at most the chunks in flight


def test_doubling_spares_the_wait_for_a_slow_worker() -> None:
    trouble = Trouble(0, 0.1, 20.0, 0, driver_lost=0, spread=0.05)
    result = Stage([10.0] * 300, 30, 3, trouble, random.Random(2)).run()
    assert result.doubled > 0
    assert result.seconds < 200  # a slow worker alone takes that long for one chunk


def test_a_chunk_that_always_fails_ends_the_job() -> None:
    with pytest.raises(ExhaustedError):
        Stage([1.0] * 10, 4, 2, Trouble(1.0, 0, 1, 0, driver_lost=0), random.Random(0)).run()


def test_the_harvest_is_cut_by_the_real_planning() -> None:
    chunks = list(cut(winners(1000, 50, 0), 1024))
    assert sum(len(chunk) for chunk in chunks) == 28 * 50


def test_a_wave_takes_many_at_once_and_nothing_is_lost() -> None:
    trouble = Trouble(0, 0, 1, 0, driver_lost=0, wave_every=100.0, wave_share=0.5)
    result = Stage([30.0] * 600, 40, 3, trouble, random.Random(0)).run()
    assert result.losses >= 40  # half of them, a few times
    assert result.redone + result.doubled > 0
    assert result.seconds > 600 * 30 / 40 * 1.2


def test_a_bucket_costs_its_latency_and_each_refusal_a_pause() -> None:
    """160 requests, eight at once: twenty rounds of 30 ms; a half of them again, after 0.1 s."""
    trouble = Trouble(0, 0, 1, 0, driver_lost=0, latency=0.03)
    assert trouble.waiting(160, random.Random(0)) == pytest.approx(0.6)
    refusing = Trouble(0, 0, 1, 0, driver_lost=0, latency=0.03, refused=0.5)
    assert refusing.waiting(160, random.Random(0)) == pytest.approx(0.6 + 80 / 8 * 0.13, rel=0.3)


def test_the_whole_build_with_parts(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--images", "4000", "--workers", "8", "--neurons", "300", "--with", "occlusion,attributes"]
    assert simulate.main(words)
    said = capsys.readouterr().out
    for name in ("scan", "merge", "harvest", "sanity", "filters", "occlusion", "attributes"):
        assert said.count(f"  {name}: ") == 2
    assert said.count("the driver alone") == 2
