"""The command with the toy part among its parts, for tests that kill it."""

from __future__ import annotations

import sys

from atlas import tables
from jobs import cli, stages
from tests.jobs import toy


def main() -> None:
    """Runs the command line."""
    stages.STAGES = (*stages.STAGES, toy.STAGE)
    tables.TABLES = (*tables.TABLES, toy.TABLE)
    tables.BY_NAME[toy.TABLE.name] = toy.TABLE
    sys.exit(cli.main(sys.argv[1:]))
