"""Puts that fail where somebody was faster: an exclusive create on a disk, If-None-Match and If-Match on a bucket."""

from __future__ import annotations

import os
import uuid
from functools import lru_cache
from typing import Any, cast
from urllib.parse import parse_qsl

from atlas.store.files import Folder
from atlas.store.locations import filesystem

_TAKEN = {"PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey", "404", "412", "409"}
_UNKNOWN = {"NotImplemented", "501", "InvalidArgument", "400"}


def certain(folder: Folder) -> bool:
    """Whether at most one of two drivers can succeed."""
    return not folder.remote or _client(folder.location) is not None


def read(folder: Folder, path: str) -> tuple[bytes, Any] | None:
    """The file, and its version; None where it is not there."""
    client = _client(folder.location) if folder.remote else None
    if client is None:
        try:
            body = folder.get(path)
        except FileNotFoundError:
            return None
        return body, body
    bucket, key = _key(folder, path)
    try:
        answer = client.get_object(Bucket=bucket, Key=key)
        return answer["Body"].read(), answer["ETag"]
    except client.exceptions.ClientError as error:
        if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
            return None
        raise OSError(str(error)) from None
    except _unreachable() as error:
        raise OSError(str(error)) from None


def create(folder: Folder, path: str, body: bytes) -> bool:
    """Puts a file that is not there yet; False where it is."""
    if not folder.remote:
        return _create_local(folder, path, body)
    return _put(folder, path, body, IfNoneMatch="*")


def replace(folder: Folder, path: str, body: bytes, version: Any) -> bool:
    """Puts a file in place of that version; False where it has changed since."""
    if folder.remote:
        return _put(folder, path, body, IfMatch=version)
    target = folder.local(path)
    aside = target.with_name(f".{target.name}.{uuid.uuid4().hex}.old")
    try:
        target.rename(aside)  # takes the file away from everybody else at once; what was taken is looked at afterwards
    except FileNotFoundError:
        return False
    if aside.read_bytes() != version:
        aside.rename(target)
        return False
    aside.unlink()
    return _create_local(folder, path, body)


def renew(folder: Folder, path: str, body: bytes, version: Any) -> None:
    """Puts the next version of a file that is the caller's own: it is never away in between."""
    if folder.remote:
        _put(folder, path, body, IfMatch=version)
    else:
        folder.put(path, body)


def _create_local(folder: Folder, path: str, body: bytes) -> bool:
    target = folder.local(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Process numbers are not enough: two containers on a shared folder are both process 1.
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex}.new")
    part.write_bytes(body)
    try:
        os.link(part, target)  # fails where the target is there, and it is never there half
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        try:
            with target.open("xb") as stream:
                stream.write(body)
        except FileExistsError:
            return False
    finally:
        part.unlink(missing_ok=True)
    return True


def _put(folder: Folder, path: str, body: bytes, **condition: Any) -> bool:
    client = _client(folder.location)
    if client is None:
        folder.put(path, body)
        return True
    bucket, key = _key(folder, path)
    try:
        client.put_object(Bucket=bucket, Key=key, Body=body, **condition)
    except client.exceptions.ClientError as error:
        code = error.response["Error"]["Code"]
        if code in _TAKEN:
            return False
        if code in _UNKNOWN:  # a store that does not know conditions: the caller looks whose the file is
            folder.put(path, body)
            return True
        raise OSError(str(error)) from None
    except _unreachable() as error:
        raise OSError(str(error)) from None
    return True


def _key(folder: Folder, path: str) -> tuple[str, str]:
    _, root = filesystem(folder.location)
    bucket, _, prefix = root.partition("/")
    return bucket, f"{prefix}/{path}" if prefix else path


@lru_cache(maxsize=4)
def _client(location: str) -> Any:
    """A client that knows conditional puts, where boto3 is installed; pyarrow's file systems do not."""
    try:
        import boto3
        from botocore.config import Config
    except ImportError:
        return None
    options = dict(parse_qsl(location.rpartition("?")[2]))
    endpoint = options.get("endpoint_override") or os.environ.get("AWS_ENDPOINT_URL") or None
    if endpoint and "://" not in endpoint:
        endpoint = f"{options.get('scheme', 'https')}://{endpoint}"
    region = options.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if boto3.session.Session().get_credentials() is None:
        return None  # pyarrow may know other places to look for them
    config = Config(connect_timeout=10, read_timeout=30, retries={"max_attempts": 5, "mode": "standard"})
    return boto3.client("s3", endpoint_url=endpoint, region_name=region or "us-east-1", config=config)


def _unreachable() -> type[Exception]:
    """The base of what boto3 raises when there is no answer."""
    from botocore.exceptions import BotoCoreError

    return cast("type[Exception]", BotoCoreError)
