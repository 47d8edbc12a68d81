"""Measuring before a build: some processes, each what a worker will be, at the same time, in a temporary folder.

Requests go to a process as pickles, and its answers come back as pickles. Ray is not needed.
"""

from __future__ import annotations

import os
import pickle
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas.errors import AtlasError, JobError
from jobs import stages
from jobs.actors import ALLOCATOR
from jobs.planning.plan import Plan


@dataclass(frozen=True)
class Answer:
    """What a request cost: seconds of wall time and of processor time; memory of the process so far (bytes, peak)."""

    wall: float
    cpu: float
    memory: int
    report: Any


class Measurer:
    """A process that runs chunks, one request at a time."""

    def __init__(self, plan: Plan, decode_threads: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from jobs.measure import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **ALLOCATOR, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )
        self._send((plan, decode_threads))

    def _send(self, what: Any) -> None:
        assert self._process.stdin is not None
        pickle.dump(what, self._process.stdin)
        self._process.stdin.flush()

    def ask(self, stage: str, chunk: int, given: Any = None) -> None:
        """Asks for a chunk of a stage."""
        self._send((stages.named(stage), chunk, given))

    def answer(self) -> Answer:
        """Waits for the answer. Raises `AtlasError` as the worker did."""
        assert self._process.stdout is not None
        try:
            found = pickle.load(self._process.stdout)
        except EOFError:
            code = self._process.wait()
            raise JobError(f"a measuring process ended with {code}; is there enough memory?") from None
        if isinstance(found, BaseException):
            raise found
        assert isinstance(found, Answer)
        return found

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()


def together(processes: Sequence[Measurer], stage: str, given: Sequence[Any]) -> list[Answer]:
    """A chunk of the stage to each process at the same time, each with what it is given."""
    for chunk, (process, each) in enumerate(zip(processes, given, strict=True)):
        process.ask(stage, chunk, each)
    return [process.answer() for process in processes]


def peak_memory() -> int:
    """Bytes that this process has had resident at most.

    Where the system says it: `ru_maxrss` of a new process begins with what its parent had.
    """
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    """Answers requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a user's network prints must not get between the answers
    start = time.perf_counter()
    work: Any = None
    while True:
        try:
            request = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        begin, cpu = (time.perf_counter(), time.process_time()) if work else (start, 0.0)
        try:
            report = None
            if work is None:
                from jobs.work import Work

                work = Work(*request)
            else:
                report = work.work(*request).report
            memory = peak_memory()
            found: Any = Answer(time.perf_counter() - begin, time.process_time() - cpu, memory, report)
        except AtlasError as error:
            found = error
        except Exception as error:
            found = JobError(f"a measurement failed with {type(error).__name__}: {' '.join(str(error).split())[:500]}")
        pickle.dump(found, answers)
        answers.flush()
