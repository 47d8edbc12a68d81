"""The scheduler's decisions, one by one and under random trouble: everything is done, nothing twice without need."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.schedule import LOSSES, PATIENCE, ExhaustedError, Schedule


def test_hands_out_each_chunk_once_in_order() -> None:
    schedule = Schedule(range(3), retries=1)
    assert [schedule.take(worker, 0.0) for worker in "abc"] == [0, 1, 2]
    assert [schedule.done(worker, 1.0) for worker in "abc"] == [0, 1, 2]
    assert not schedule.left
    assert schedule.redone == 0


def test_a_chunk_that_fails_goes_elsewhere_after_a_rest() -> None:
    schedule = Schedule([7], retries=3)
    assert schedule.take("a", 0.0) == 7
    assert not schedule.failed("a", 1.0)
    assert schedule.take("b", 1.05) is None  # it rests for a tenth of a second
    assert schedule.take("a", 1.2) is None  # and not where it failed, while there may be an elsewhere
    assert schedule.take("b", 1.2) == 7
    assert schedule.done("b", 2.0) == 7
    assert schedule.redone == 1


def test_a_chunk_comes_back_where_it_failed_if_there_is_no_elsewhere() -> None:
    schedule = Schedule([7], retries=1)
    schedule.take("a", 0.0)
    schedule.failed("a", 0.0)
    assert schedule.take("a", PATIENCE + 0.2) == 7


def test_a_worker_that_fails_twice_in_a_row_is_to_be_replaced() -> None:
    schedule = Schedule(range(5), retries=3)
    schedule.take("a", 0.0)
    assert schedule.failed("a", 0.0) is False
    schedule.take("a", 0.0)
    assert schedule.failed("a", 0.0) is True


def test_failures_are_bounded_and_name_the_chunk() -> None:
    schedule = Schedule([4], retries=2)
    for worker in ("a", "b"):
        schedule.take(worker, 100.0)
        schedule.failed(worker, 0.0)
    schedule.take("c", 100.0)
    with pytest.raises(ExhaustedError, match="chunk 4 failed 3 times"):
        schedule.failed("c", 100.0)


def test_lost_workers_are_bounded_less_tightly() -> None:
    schedule = Schedule([4], retries=1)
    for number in range(2 * LOSSES):
        assert schedule.take(number, 0.0) == 4
        schedule.lost(number, 0.0)
    schedule.take("last", 0.0)
    with pytest.raises(ExhaustedError):
        schedule.lost("last", 0.0)


def test_a_slow_run_is_doubled_once_and_the_first_end_counts() -> None:
    schedule = Schedule(range(3), retries=1)
    for worker in "abc":
        schedule.take(worker, 0.0)
    schedule.done("a", 10.0)
    assert schedule.take("a", 12.0) is None  # not slow yet
    assert schedule.take("a", 16.0) == 1
    schedule.done("c", 16.0)
    assert schedule.take("c", 17.0) is None  # each run is doubled once
    assert schedule.done("a", 26.0) == 1
    assert schedule.done("b", 40.0) is None
    assert (schedule.doubled, schedule.redone, schedule.left) == (1, 0, set())


def test_a_double_that_is_lost_leaves_the_other_run() -> None:
    schedule = Schedule(range(2), retries=0)
    schedule.take("a", 0.0)
    schedule.take("b", 0.0)
    schedule.done("a", 1.0)
    assert schedule.take("a", 5.0) == 1
    schedule.lost("a", 6.0)
    assert schedule.take("c", 6.0) == 1  # b's run is slow still: it is doubled again
    assert schedule.done("b", 7.0) == 1
    assert schedule.done("c", 8.0) is None


@given(st.randoms(use_true_random=False), st.integers(1, 40), st.integers(1, 8))
def test_whatever_happens_every_chunk_is_done_once(random: object, chunks: int, workers: int) -> None:
    schedule = Schedule(range(chunks), retries=10**6)
    done: list[int] = []
    now = 0.0
    while schedule.left:
        now += 1.0
        assert now < 10_000
        for worker in range(workers):
            if worker not in schedule.runs:
                schedule.take(worker, now)
        for worker in list(schedule.runs):
            what = random.random()  # type: ignore[attr-defined]
            if what < 0.5:
                chunk = schedule.done(worker, now)
                done += [] if chunk is None else [chunk]
            elif what < 0.6:
                schedule.failed(worker, now)
            elif what < 0.65:
                schedule.lost(worker, now)
    assert sorted(done) == list(range(chunks))
