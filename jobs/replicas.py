"""`neuron-atlas probe --address`: the probe on a Ray cluster, as replicas that Ray Serve starts, watches and feeds.

Each replica is the whole probe (`probe.replica`), one network at a time and one image a call, so that it answers as the
process on one machine does. Nothing is batched: an answer must not depend on who else asks.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.errors import JobError, SettingsError
from atlas.settings import PLACES
from jobs.probe import given_for, threads_for
from probe.protocol import QUEUE, RETRY_SECONDS

if TYPE_CHECKING:
    from ray.serve import Application

NAME = "neuron-atlas-probe"
MOST = 1000
ONGOING = 8
"""Questions that a replica has at once; those beyond wait for whichever is free first, at most `QUEUE` of them."""
TARGET = 2
"""Questions a replica has on average when there are enough: one at the network, one being decoded."""
HEALTH_SECONDS = 60.0
"""How long the network's thread may take until its turn; then the replica is replaced."""
STOPS = (signal.SIGINT, signal.SIGTERM)
LOOK_SECONDS = 2.0
FLAGS = ("dirs", *PLACES, "device", "threads", "replicas")
"""Arguments of `application`, named as the flags of `neuron-atlas probe`."""


def bounds(text: str) -> tuple[int, int]:
    """The fewest and the most replicas in `N` or `MIN:MAX`. Raises `SettingsError`."""
    parts = str(text).split(":")
    if len(parts) <= 2 and all(part.isascii() and part.isdigit() and len(part) < 9 for part in parts):
        low, high = int(parts[0]), int(parts[-1])
        if 1 <= low <= high <= MOST:
            return low, high
    raise SettingsError(f"--replicas {text!r}: expected N, or MIN:MAX, from 1 to {MOST}")


def application(arguments: Mapping[str, Any]) -> Application:
    """The `import_path` of a RayService, whose `args` are the flags; the environment has the secret, which is needed.

    Raises `SettingsError`, `FolderError`.
    """
    from probe.server import checked_secret

    return _application(arguments, checked_secret("0.0.0.0"))  # others reach what an operator deploys


def _application(arguments: Mapping[str, Any], token: str | None) -> Application:
    """What Ray Serve runs. `token`: the secret; it goes with the replica's arguments, which no dashboard shows."""
    from probe.replica import Replica

    unknown = sorted(set(arguments) - set(FLAGS))
    if unknown or not arguments.get("dirs"):
        raise SettingsError(f"args: {', '.join(unknown) or 'no dirs'}; expected dirs and any of {', '.join(FLAGS[1:])}")
    lists = {name: _list(arguments.get(name)) for name in ("dirs", *PLACES)}
    dirs = [_full(each) for each in lists.pop("dirs")]
    given = [_placed(mine) for mine in given_for(dirs, lists)]
    threads = str(arguments.get("threads", "auto"))
    cores = 1 if threads == "auto" else threads_for(threads)
    device = str(arguments.get("device", "auto"))
    deployment = _deployment(Replica, bounds(str(arguments.get("replicas", 1))), cores, device)
    bound: Application = deployment.bind(dirs, given, device, cores, token)
    return bound


def _deployment(replica: type, replicas: tuple[int, int], cores: int, device: str) -> Any:
    """How many replicas, on what, with which queue and which health."""
    import ray
    from ray import serve
    from ray.serve.config import BackpressureConfig

    from jobs.cluster import environment

    low, high = replicas
    scale = {"min_replicas": low, "max_replicas": high, "target_ongoing_requests": TARGET}
    gpu = device == "cuda" or (device == "auto" and ray.cluster_resources().get("GPU", 0) >= 1)
    return serve.deployment(replica).options(
        name="probe",
        **({"num_replicas": low} if low == high else {"autoscaling_config": scale}),
        ray_actor_options={
            "num_cpus": cores,
            "num_gpus": 1 if gpu else 0,
            "runtime_env": {"env_vars": environment()},
        },
        max_ongoing_requests=ONGOING,
        max_queued_requests=QUEUE,
        backpressure_config=BackpressureConfig(status_code=429, retry_after_s=RETRY_SECONDS),
        health_check_timeout_s=HEALTH_SECONDS,
        max_constructor_retry_count=3,
        logging_config={"log_level": "WARNING", "enable_access_log": False},
    )


def _list(value: str | Sequence[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


def _full(place: str) -> str:
    """A place with its full path where it is on this machine: replicas run in another folder."""
    path, is_code, factory = place.partition(".py:")
    named = Path(f"{path}.py" if is_code else place)
    if "://" in place or not named.exists():
        return place
    return f"{named.absolute()}:{factory}" if is_code else str(named.absolute())


def _placed(given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: tuple(map(_full, value)) if isinstance(value, tuple) else _full(value) for name, value in given.items()
    }


def run(arguments: Mapping[str, Any], *, address: str, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Deploys the probe, says where it answers, and takes it down on SIGINT or SIGTERM.

    Raises `SettingsError` for what is asked wrongly, `JobError` where it ends by itself.
    """
    from api.http.listen import bound
    from probe.server import checked_secret

    token = checked_secret(host)
    bounds(str(arguments.get("replicas", 1)))
    ray, serve = _ray_serve()
    from jobs.cluster import join

    listening = bound(host, port)
    port = listening.getsockname()[1]
    listening.close()  # the cluster's proxies listen there
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    join(address)
    try:
        running = serve.status()
        if running.applications or running.proxies:
            raise SettingsError(
                f"--address {address}: Ray Serve runs there already ({', '.join(running.applications) or 'empty'}); "
                "`serve shutdown` ends it, or deploy `jobs.replicas:application` into it"
            )
        before = {each: signal.signal(each, signal.default_int_handler) for each in STOPS}
        with suppress(KeyboardInterrupt):
            try:
                _deploy(_application(arguments, token), host, port)
                stops: list[int] = []
                # An interrupt that is raised in the middle of a call of Ray can be lost there; from here it is noted.
                for each in STOPS:
                    signal.signal(each, lambda number, _: stops.append(number))
                ready(f"http://{f'[{host}]' if ':' in host else host}:{port}/")
                while not stops:
                    if NAME not in serve.status().applications:
                        raise JobError(
                            "the deployment was taken down by somebody else; the same command deploys it again"
                        )
                    time.sleep(LOOK_SECONDS)
            finally:
                for each in STOPS:
                    signal.signal(each, signal.default_int_handler)
                serve.shutdown()
                for each, handler in before.items():
                    signal.signal(each, handler)
    finally:
        ray.shutdown()


def _ray_serve() -> tuple[Any, Any]:
    """Ray and Ray Serve. Raises `SettingsError` where they are not installed."""
    try:
        import ray
        from ray import serve
    except ImportError:
        said = '--address: Ray Serve is not installed; `pip install "neuron-atlas[replicas]"`, here and on the cluster'
        raise SettingsError(said) from None
    return ray, serve


def _deploy(target: Application, host: str, port: int) -> None:
    """Until a replica answers. Raises `SettingsError` with the last words of one that cannot."""
    from ray import serve

    quiet = {"log_level": "WARNING", "enable_access_log": False}
    serve.start(http_options={"host": host, "port": port}, logging_config=quiet)
    try:
        serve.run(target, name=NAME, route_prefix="/")
    except RuntimeError as error:
        found = serve.status().applications.get(NAME)
        said = [line for line in (found.message if found else str(error)).splitlines() if line.strip()]
        raise SettingsError(f"no replica could start: {_reason(said)}") from None


def _reason(lines: Sequence[str]) -> str:
    """The error in the lines of a traceback."""
    named = [line for line in lines if "Error: " in line]
    return (named or lines or ["see the cluster's logs"])[-1].strip()
