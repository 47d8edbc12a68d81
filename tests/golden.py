"""How the stored atlases of `tests/data/` were made: `python -m tests.golden DIR` writes one of today's format.

Every later version must open them. A new format gets a folder of its own beside the old ones, which stay as they are.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from atlas.settings import Settings
from tests import tiny, tiny_net

DATA = Path(__file__).parent / "data"
IMAGES = 12
LAYERS = ("conv1", "fc")


def inputs(root: Path) -> Path:
    """Twelve pictures, one broken file, and the tiny network's weights, under `root`."""
    return tiny.write_inputs(root, count=IMAGES, bad={"ant/900_empty.jpg": b""})


def settings(root: Path, out: Path) -> Settings:
    """Two layers, one example a side, small pictures: under 300 kB in all."""
    return tiny.settings(
        root, out, layers=LAYERS, k=1, sides=("max", "min"), sample=10, thumbnails=8, picture_size=8, evidence=1,
        projections=("gradient",), chunk_size="8",
    )  # fmt: skip


def main(out: str) -> None:
    """Builds beside its inputs, so that the atlas names no path of the machine that made it."""
    from jobs.build import build

    with tempfile.TemporaryDirectory() as temporary:
        root = inputs(Path(temporary))
        shutil.copy(tiny_net.__file__, root / "net.py")
        with contextlib.chdir(root):
            here = settings(Path(), Path("atlas"))
            print(build(replace(here, network="net.py:net")))
        shutil.copytree(root / "atlas", out)


if __name__ == "__main__":
    main(sys.argv[1])
