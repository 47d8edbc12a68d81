"""The commands that stay up, `serve` and `probe`: their options, and how they run."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from atlas.errors import SettingsError
from atlas.settings import PLACES


def add_serve(parser: argparse.ArgumentParser) -> None:
    """What `serve` takes."""
    parser.add_argument("dirs", nargs="+", metavar="dir", help="folder of a sealed atlas, one or more")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to bind; another one needs --token (default: %(default)s)"
    )
    parser.add_argument("--port", type=int, default=8000, help="port (default: %(default)s)")
    parser.add_argument("--token", help="what callers must send as a bearer token (default: $NEURON_ATLAS_TOKEN)")
    parser.add_argument(
        "--host-name", action="append", default=[], metavar="NAME",
        help="a name that a service without a token may be called by, beside localhost; may be given again",
    )  # fmt: skip
    parser.add_argument("--no-pictures", action="store_true", help="for data that may not be shown: no pixel leaves")
    parser.add_argument(
        "--frame-ancestors", action="append", default=[], metavar="ORIGIN",
        help="whose pages may frame a figure (?embed=1): https://example.org, self or *; may be given again",
    )  # fmt: skip
    parser.add_argument(
        "--probe", action="store_true", help="answer about people's own images: a probe on this machine"
    )
    parser.add_argument("--probe-url", metavar="URL", help="the same, by a probe that runs elsewhere")
    _add_places(parser)


def add_probe(parser: argparse.ArgumentParser) -> None:
    """What `probe` takes."""
    parser.add_argument("dirs", nargs="+", metavar="dir", help="folder of a sealed atlas, one or more")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind; another one needs a secret (%(default)s)")
    parser.add_argument("--port", type=int, default=8001, help="port (default: %(default)s)")
    parser.add_argument("--address", metavar="auto|ADDRESS", help="of a Ray cluster: replicas on Ray Serve there")
    parser.add_argument("--replicas", metavar="N|MIN:MAX", help="how many, or the bounds of autoscaling (default: 1)")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    _add_places(parser)


def _add_places(parser: argparse.ArgumentParser) -> None:
    """Where the originals of each atlas lie now, and what a probe runs on."""
    for name in PLACES:
        about = {
            "network": "its network",
            "weights": "its weights",
            "images": "its images, for pictures that were not made",
        }
        parser.add_argument(
            f"--{name.replace('_', '-')}", nargs="+", default=[], metavar="[ATLAS=]VALUE",
            help=f"{about.get(name, 'its class names')} (default: as the atlas was built)",
        )  # fmt: skip
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="of the probe (%(default)s)")
    parser.add_argument("--threads", default="auto", help="of the probe's network; auto is one a core (%(default)s)")


def serve(options: argparse.Namespace) -> int:
    """Runs the service, and its probe, until it is stopped."""
    from api import server
    from api.probing import Child, Prober, at_url
    from jobs.probe import command

    if options.probe and options.probe_url:
        raise SettingsError("--probe and --probe-url: expected one of them")
    child = None
    if options.probe:
        child = Child(command(options.dirs, _places(options), options.device, options.threads))
    if options.token:
        print("--token: others on this machine can read it; NEURON_ATLAS_TOKEN=… is not shown", file=sys.stderr)
    prober = None if options.probe_url is None else at_url(options.probe_url)
    try:
        if child is not None:
            child.wait()
            prober = Prober(lambda: child.address, child.token)
        server.serve(
            options.dirs,
            host=options.host,
            port=options.port,
            token=options.token,
            pictures=not options.no_pictures,
            host_names=options.host_name,
            prober=prober,
            frame_ancestors=options.frame_ancestors,
        )
    finally:
        if child is not None:
            child.stop()
    return 0


def _places(options: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(options, name) for name in PLACES}


def probe(options: argparse.Namespace) -> int:
    """Runs a probe, on this machine or on a cluster, until it is stopped."""
    from jobs.probe import run, say

    if options.address is not None:
        from jobs import replicas

        given = {name: getattr(options, name) for name in replicas.FLAGS if getattr(options, name) is not None}
        replicas.run(given, address=options.address, host=options.host, port=options.port, ready=say)
        return 0
    if options.replicas is not None:
        raise SettingsError(f"--replicas {options.replicas}: replicas need a cluster; give its --address, or auto")
    run(
        options.dirs,
        _places(options),
        host=options.host,
        port=options.port,
        device=options.device,
        threads=options.threads,
        child=options.child,
    )
    return 0
