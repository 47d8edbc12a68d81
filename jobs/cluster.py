"""Ray: an embedded one by default, a running cluster where `--address` names one."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from atlas.errors import SettingsError
from atlas.settings import Settings
from jobs.actors import ALLOCATOR, Worker, Workers
from jobs.planning.plan import Plan
from jobs.pool import Pool

OBJECT_STORE = 256 * 2**20
"""Bytes of the embedded object store: only winners and outcomes pass through it, never images."""

SAID = ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_EC2_METADATA_DISABLED")
"""What workers on other machines are told of the driver's environment: where buckets are, never a key to them."""


@contextmanager
def cluster(settings: Settings) -> Iterator[Workers]:
    """Ray for as long as the block runs; what was started here is stopped here."""
    cores = os.cpu_count() or 1
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # 15 by default: a third of the speed beside other work
    own = not ray.is_initialized()
    if own and settings.address:
        join(settings.address)
    elif own:
        wanted = cores if settings.workers == "auto" else int(settings.workers)
        ray.init(
            address="local",  # whatever the environment says: a cluster is asked for by --address
            num_cpus=max(wanted + _asked(settings), cores),
            object_store_memory=OBJECT_STORE,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=True,
        )
    try:
        resources = ray.cluster_resources()
        gpus = resources.get("GPU", 0.0) if settings.device != "cpu" else 0.0
        yield _workers(settings, max(int(resources.get("CPU", 1)), 1), gpus)
    finally:
        if own:
            ray.shutdown()


def join(address: str) -> None:
    """Connects this process to a running cluster. Raises `SettingsError`."""
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError:
        raise SettingsError(
            f"--address {address}: no Ray cluster answers there; start one with `ray start --head`, or give its address"
        ) from None


@contextmanager
def pool_of(plan: Plan) -> Iterator[Pool]:
    """Ray, and a pool of workers that all know the plan, for as long as the block runs."""
    with cluster(plan.settings) as workers:
        pool = make_pool(plan, workers)
        try:
            yield pool
        finally:
            pool.close()


def planned(settings: Settings, cores: int) -> Workers:
    """The workers that an embedded Ray would have on this machine."""
    import torch

    wanted = cores if settings.workers == "auto" else int(settings.workers)
    gpus = torch.cuda.device_count() if settings.device != "cpu" else 0
    return _workers(settings, max(wanted + _asked(settings), cores), float(gpus))


def _workers(settings: Settings, cores: int, gpus: float) -> Workers:
    left = max(cores - _asked(settings), 1)
    count = int(settings.workers) if settings.workers != "auto" else int(gpus) or max(left // settings.threads, 1)
    spare = max((cores - count * settings.threads) // count, 1)
    threads = spare if settings.decode_threads == "auto" else int(settings.decode_threads)
    free = max(cores - count, 0)  # what workers leave to tasks
    decoders = _asked(settings)
    if decoders > free:
        raise SettingsError(
            f"--decoders {decoders}: {count} worker{'s' if count > 1 else ''} leave {free} of {cores} CPUs; "
            "give --workers or --decoders a smaller number"
        )
    if settings.decoders == "auto" and settings.address and gpus and settings.decode == "cpu":
        decoders = free
    return Workers(count, threads, 1.0 if gpus else 0.0, decoders)


def _asked(settings: Settings) -> int:
    return 0 if settings.decoders == "auto" else int(settings.decoders)


def make_pool(plan: Plan, workers: Workers) -> Pool:
    """A pool of workers that all know the plan."""
    shared = ray.put(plan)
    worker: Any = Worker
    options = worker.options(
        num_cpus=0 if workers.gpus else 1, num_gpus=workers.gpus, runtime_env={"env_vars": environment()}
    )
    return Pool(lambda: options.remote(shared, workers), workers.count, plan.settings.retries)


def environment() -> dict[str, str]:
    """Variables that a process on another machine is started with."""
    return ALLOCATOR | {name: os.environ[name] for name in SAID if name in os.environ}
