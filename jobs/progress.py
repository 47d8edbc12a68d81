"""Progress for people: one line that moves on a terminal, plain lines elsewhere, nothing lost either way."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import TextIO

EVERY = 5.0
"""Seconds between plain lines."""


def duration(seconds: float) -> str:
    """Seconds as people say them: 42 s, 3:07, 1:02:03."""
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


@dataclass
class Progress:
    """Progress of one stage: `done` of `total` things, some of them done before this run began."""

    stage: str
    total: int
    noun: str
    before: int = 0
    stream: TextIO = field(default_factory=lambda: sys.stderr)
    _start: float = field(default_factory=time.monotonic)
    _last: float = 0.0
    _last_text: str = ""

    def show(self, done: int, extra: str = "", *, final: bool = False) -> None:
        """Shows `done` (with those done before); between plain lines at least `EVERY` seconds pass."""
        now = time.monotonic()
        terminal = self.stream.isatty()
        if not final and now - self._last < (0.2 if terminal else EVERY):
            return
        self._last = now
        text = self._text(done, now - self._start, extra)
        if text == self._last_text and not final:
            return
        self._last_text = text
        if terminal:
            self.stream.write(f"\r\x1b[2K{text}" + ("\n" if final else ""))
        else:
            self.stream.write(text + "\n")
        self.stream.flush()

    def _text(self, done: int, seconds: float, extra: str) -> str:
        fresh = done - self.before
        rate = fresh / seconds if seconds > 0 else 0.0
        parts = [f"{self.stage}: {done:,} of {self.total:,} {self.noun}"]
        if rate > 0 and done < self.total:
            parts += [f"{rate:,.1f} {self.noun}/s", f"{duration((self.total - done) / rate)} left"]
        elif done >= self.total:
            parts += [f"{duration(seconds)}"] + ([f"{rate:,.1f} {self.noun}/s"] if rate > 0 else [])
        return " · ".join([*parts, extra] if extra else parts)


def say(text: str) -> None:
    """One line on stderr."""
    print(text, file=sys.stderr, flush=True)
