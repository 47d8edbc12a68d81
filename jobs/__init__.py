"""The jobs of the command line, from Python: `jobs.build(Settings(...))`, `jobs.add(DIR, "occlusion", examples=3)`."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any


class Callable(ModuleType):
    """A module that is called as its function of the same name, since `jobs.build` is a module and a job."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return getattr(self, self.__name__.rpartition(".")[2])(*arguments, **named)


def __getattr__(name: str) -> Any:
    if name in ("build", "add"):
        return importlib.import_module(f"jobs.{name}")
    raise AttributeError(f"module 'jobs' has no attribute {name!r}")
