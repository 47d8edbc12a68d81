"""What a location names: a disk, a bucket or the Hugging Face Hub as a file system, and the path in it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qsl

from pyarrow import fs

from atlas.errors import InputError

T = TypeVar("T")
_CONNECT_SECONDS, _REQUEST_SECONDS, ATTEMPTS = 10, 120, 5
_READ_SECONDS = 4
"""Of a request while somebody waits for it."""
HUB = "hf://"
_OPTIONS = {"endpoint_override", "scheme", "region"}


def is_remote(location: str) -> bool:
    """Whether `location` names a bucket, or a repository of the Hugging Face Hub, rather than a local path."""
    return location.startswith(("s3://", HUB))


def filesystem(location: str, *, patient: bool = True) -> tuple[fs.FileSystem, str]:
    """The file system of `location`, and the path in it.

    `s3://` takes its endpoint from AWS_ENDPOINT_URL, its region from AWS_REGION, and its credentials where AWS's own
    tools do; `?endpoint_override=…&scheme=…&region=…` at the end wins.
    """
    if location.startswith(HUB):
        return _hub(os.getpid()), location.removeprefix(HUB).rstrip("/")
    if not is_remote(location):
        return fs.LocalFileSystem(), str(Path(location).absolute())
    path, query = location.removeprefix("s3://"), ""
    before, mark, after = path.rpartition("?")
    if mark and after.partition("=")[0] in _OPTIONS:
        path, query = before, after
    path = path.rstrip("/")
    options = dict(parse_qsl(query))
    endpoint = options.get("endpoint_override") or os.environ.get("AWS_ENDPOINT_URL", "")
    scheme, _, host = endpoint.rstrip("/").rpartition("://")
    region = options.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if region is None:
        region = "us-east-1" if host else _region(path.partition("/")[0])
    return _bucket_system(host, options.get("scheme") or scheme or "https", region, os.getpid(), patient), path


def inside(location: str, path: str) -> str:
    """The location of a folder inside another one; what a bucket's location says of its endpoint stays at the end."""
    before, mark, after = location.rpartition("?")
    if is_remote(location) and mark and after.partition("=")[0] in _OPTIONS:
        return f"{before.rstrip('/')}/{path}?{after}"
    return f"{location.rstrip('/')}/{path}"


@lru_cache(maxsize=64)
def _region(bucket: str) -> str:
    try:
        return str(fs.resolve_s3_region(bucket))
    except OSError:
        return "us-east-1"


@lru_cache(maxsize=1)
def _hub(process: int) -> fs.FileSystem:
    try:
        from huggingface_hub import HfFileSystem
    except ImportError:
        raise InputError(f"{HUB}…: needs huggingface_hub; install it, or copy the atlas to a disk first") from None
    return fs.PyFileSystem(fs.FSSpecHandler(HfFileSystem()))


@lru_cache(maxsize=16)
def _bucket_system(host: str, scheme: str, region: str, process: int, patient: bool = True) -> fs.FileSystem:
    """One client a process: connections are kept and shared by threads. `patient`: for work that nobody waits for."""
    return fs.S3FileSystem(
        region=region,
        endpoint_override=host or None,
        scheme=scheme,
        allow_delayed_open=True,  # one put for a small file, instead of an upload in parts
        connect_timeout=_CONNECT_SECONDS,
        request_timeout=_REQUEST_SECONDS if patient else _READ_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS if patient else 1),
    )


def tried(action: Callable[[], T], attempts: int) -> T:
    """The action's value, tried again after an `OSError`, ever later; what is missing stays missing.

    A bucket's client tries requests again, but not bodies that are cut short.
    """
    for attempt in range(attempts):
        try:
            return action()
        except FileNotFoundError:
            raise
        except OSError:
            if attempt == attempts - 1:
                raise
            time.sleep(0.1 * 2**attempt)
    raise AssertionError("unreachable")
