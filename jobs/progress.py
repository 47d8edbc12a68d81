"""Progress for people: one line that moves on a terminal, plain lines elsewhere, nothing lost either way."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import TextIO

EVERY = 5.0
"""Seconds between plain lines."""
SURE_AFTER = 15.0
"""Seconds after which what is done so far says how long the rest will take,"""
SURE_SHARE = 0.05
"""or the share of it that must be done: a first chunk pays for loading, compiling and warming up."""


def duration(seconds: float) -> str:
    """Seconds as people say them: 42 s, 3:07, 1:02:03."""
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


@dataclass
class Progress:
    """Progress of one stage: `done` of `total` things, some of them done before this run began.

    What was shown is never taken back: where a worker is lost with half a chunk, the line stands still until that work
    is made up for.
    """

    stage: str
    total: int
    noun: str
    before: int = 0
    stream: TextIO = field(default_factory=lambda: sys.stderr)
    _start: float = field(default_factory=time.monotonic)
    _last: float = 0.0
    _last_text: str = ""
    _most: int = 0

    def show(self, done: int, extra: str = "", *, final: bool = False) -> None:
        """Shows `done` (with those done before); between plain lines at least `EVERY` seconds pass."""
        now = time.monotonic()
        terminal = self.stream.isatty()
        if not final and now - self._last < (0.2 if terminal else EVERY):
            return
        self._last = now
        self._most = max(self._most, done)
        text = self._text(self._most, now - self._start, extra)
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
            parts.append(f"{rate:,.1f} {self.noun}/s")
            if seconds >= SURE_AFTER or fresh >= SURE_SHARE * (self.total - self.before):
                parts.append(f"{duration((self.total - done) / rate)} left")
        elif done >= self.total:
            parts += [f"{duration(seconds)}"] + ([f"{rate:,.1f} {self.noun}/s"] if rate > 0 else [])
        return " · ".join([*parts, extra] if extra else parts)


def say(text: str) -> None:
    """One line on stderr."""
    print(text, file=sys.stderr, flush=True)
