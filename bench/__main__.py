"""`python -m bench [NAME …]`: runs the benchmarks that take minutes at most, or those that are named.

Each script can be run alone too (`python -m bench.scan`); the long ones only so: `bench.one_answer`, `bench.api`, ….
"""

from __future__ import annotations

import importlib
import sys

SHORT = ("scan", "files", "peer", "memory")


def main(names: list[str]) -> int:
    """0 where every claim holds."""
    sys.argv = sys.argv[:1]
    missed = [name for name in names or SHORT if not importlib.import_module(f"bench.{name}").main()]
    print(f"claims that do not hold: {', '.join(missed)}" if missed else "every claim holds")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
