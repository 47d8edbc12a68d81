"""Progress: plain lines, or one line that moves on a terminal."""

from __future__ import annotations

import io

import pytest

from jobs import progress
from jobs.progress import Progress, duration


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def shown(stream: io.StringIO, clock: list[float], **options: int) -> Progress:
    return Progress("scan", 1000, "images", stream=stream, _start=clock[0], **options)


def test_plain_lines_at_most_every_few_seconds(clock: list[float]) -> None:
    stream = io.StringIO()
    line = shown(stream, clock)
    for second in range(21):
        clock[0] = 100.0 + second
        line.show(10 * second, "0 quarantined")
    line.show(1000, final=True)
    lines = stream.getvalue().splitlines()
    assert 4 <= len(lines) <= 6
    assert "\r" not in stream.getvalue()
    assert "\x1b" not in stream.getvalue()
    assert lines[1] == "scan: 50 of 1,000 images · 10.0 images/s · 1:35 left · 0 quarantined"
    assert lines[-1].startswith("scan: 1,000 of 1,000 images · 20 s")


def test_one_line_on_a_terminal(clock: list[float]) -> None:
    stream = Terminal()
    line = shown(stream, clock)
    for step in range(10):
        clock[0] += 0.3
        line.show(step)
    line.show(1000, final=True)
    assert stream.getvalue().count("\r") == 11
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().endswith("\n")


def test_what_was_done_before_does_not_count_as_speed(clock: list[float]) -> None:
    stream = io.StringIO()
    line = shown(stream, clock, before=900)
    clock[0] += 10
    line.show(950)
    assert "950 of 1,000 images · 5.0 images/s · 10 s left" in stream.getvalue()


def test_never_backwards(clock: list[float]) -> None:
    stream = io.StringIO()
    line = shown(stream, clock)
    for done in (100, 408, 321, 410):  # a lost worker takes its half chunk with it
        clock[0] += 6
        line.show(done)
    assert [text.split()[1] for text in stream.getvalue().splitlines()] == ["100", "408", "408", "410"]


def test_no_hours_are_promised_from_the_first_second(clock: list[float]) -> None:
    stream = io.StringIO()
    line = shown(stream, clock)
    clock[0] += 5.5
    line.show(1)  # of a thousand: 1:31:35 left, as if loading were work
    clock[0] += 5.5
    line.show(60)
    first, second = stream.getvalue().splitlines()
    assert first == "scan: 1 of 1,000 images · 0.2 images/s"
    assert second == "scan: 60 of 1,000 images · 5.5 images/s · 2:52 left"
    clock[0] += 5.5
    line.show(61)
    assert "left" in stream.getvalue().splitlines()[2]


@pytest.mark.parametrize(
    ("seconds", "says"), [(0, "0 s"), (59.4, "59 s"), (60, "1:00"), (187, "3:07"), (3723, "1:02:03"), (-1, "0 s")]
)
def test_durations(seconds: float, says: str) -> None:
    assert duration(seconds) == says
