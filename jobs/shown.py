"""What a data set or a network named is shown on a terminal, never obeyed: control characters are escaped."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import TextIOBase
from typing import Any, TextIO, cast

_DIRECTIONS = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
_SHOWN = {number: f"\\x{number:02x}" for number in (*range(32), *range(127, 160)) if chr(number) not in "\n\t"}
_SHOWN |= {number: f"\\u{number:04x}" for number in _DIRECTIONS}
_PROGRESS = {number: text for number, text in _SHOWN.items() if chr(number) != "\r"}
"""Progress goes back to the beginning of its line."""


class _Shown(TextIOBase):
    """A text stream on which control characters are seen; its `buffer` takes bytes as they are."""

    def __init__(self, stream: TextIO, escapes: dict[int, str]) -> None:
        super().__init__()
        self._stream, self._escapes = stream, escapes

    def write(self, text: str) -> int:
        self._stream.write(text.translate(self._escapes))
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return not self._stream.closed and self._stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def safely() -> Iterator[None]:
    """What is printed while the block runs is shown, not obeyed."""
    out = cast("TextIO", _Shown(sys.stdout, _SHOWN))
    err = cast("TextIO", _Shown(sys.stderr, _PROGRESS))
    with redirect_stdout(out), redirect_stderr(err):
        yield
