"""Files on a disk and in a bucket: whole or not at all."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from atlas.errors import InputError, JobError
from atlas.store.files import Folder
from atlas.store.locations import filesystem


@pytest.fixture(params=["disk", "bucket"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    where = tmp_path / "out" if request.param == "disk" else request.getfixturevalue("bucket") + "/some/where"
    return Folder(str(where))


def test_put_get_list_remove(folder: Folder) -> None:
    assert folder.is_empty()
    assert folder.names() == []
    folder.put("a.txt", b"one")
    folder.put("deep/er/b.bin", b"two" * 1000)
    folder.put("deep/z", b"")
    assert not folder.is_empty()
    assert folder.get("a.txt") == b"one"
    assert folder.size("deep/er/b.bin") == 3000
    assert folder.exists("deep/z")
    assert not folder.exists("deep")
    assert not folder.exists("nothing")
    assert folder.names() == ["a.txt"]
    assert folder.names("deep") == ["z"]
    assert folder.names(recursive=True) == ["a.txt", "deep/er/b.bin", "deep/z"]
    with folder.open("deep/er/b.bin") as stream:
        stream.seek(2998)
        assert stream.read() == b"wo"
    folder.put("a.txt", b"again")
    assert folder.get("a.txt") == b"again"
    folder.remove("deep")
    folder.remove("deep")
    folder.remove("a.txt")
    assert folder.is_empty()
    with pytest.raises(FileNotFoundError):
        folder.get("a.txt")
    with pytest.raises(FileNotFoundError):
        folder.size("a.txt")


def test_a_block_that_raises_leaves_nothing(folder: Folder) -> None:
    folder.put("kept", b"before")
    for name in ("kept", "new"):
        with pytest.raises(ZeroDivisionError), folder.writing(name) as stream:
            stream.write(b"half" * (stream.write(b"half") // 0))
    assert folder.names(recursive=True) == ["kept"]
    assert folder.get("kept") == b"before"


def test_odd_names(folder: Folder) -> None:
    names = ["a b.txt", "naïve 猫 א", "quote'\"<b>", "100%25.txt", "plus+and&"]
    if not folder.remote:  # the store of these tests refuses it
        names.append("new\nline")
    for name in names:
        folder.put(name, name.encode())
    assert folder.names() == sorted(names, key=str.encode)
    assert [folder.get(name) for name in names] == [name.encode() for name in names]


def test_large_body_goes_up_in_parts(folder: Folder) -> None:
    body = os.urandom(1 << 20) * 24
    folder.put("large", body)
    assert folder.get("large") == body


def test_folder_travels_to_other_processes(folder: Folder) -> None:
    folder.put("x", b"1")
    assert pickle.loads(pickle.dumps(folder)).get("x") == b"1"


def test_a_killed_writer_leaves_nothing_that_counts(tmp_path: Path) -> None:
    script = """
        import sys, time
        from atlas.store.files import Folder
        with Folder(sys.argv[1]).writing("unit") as stream:
            stream.write(b"half")
            stream.flush()
            print("writing", flush=True)
            time.sleep(60)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)], stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
    folder = Folder(str(tmp_path))
    assert len(list(tmp_path.iterdir())) == 1
    assert folder.names() == []
    assert folder.is_empty()
    assert not folder.exists("unit")
    assert folder.sweep() == 1
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB, where this process may mount one."""
    where = tmp_path / "small"
    where.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", where], capture_output=True).returncode
    if mounted:
        pytest.skip("may not mount a file system")
    yield where
    subprocess.run(["umount", where], check=True)


def test_a_full_disk_is_said_and_the_same_put_goes_on(small_disk: Path) -> None:
    folder = Folder(str(small_disk))
    folder.put("first", b"x" * 40_000)
    with pytest.raises(JobError, match=r"small/second: the disk is full; make room, then run the same command again"):
        folder.put("second", b"x" * 40_000)
    assert [path.name for path in small_disk.iterdir()] == ["first"]
    folder.remove("first")
    folder.put("second", b"x" * 40_000)
    assert folder.names() == ["second"]


@pytest.mark.parametrize("where", ["disk", "bucket"])
def test_a_limit_on_file_size_is_a_full_disk(where: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    location = str(tmp_path) if where == "disk" else request.getfixturevalue("bucket")
    script = """
        import resource, sys
        from atlas.errors import JobError
        from atlas.store.files import Folder
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            Folder(sys.argv[1]).put("unit", bytes(200_000))
        except JobError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), location], capture_output=True, text=True, check=True
    )
    assert "the disk is full" in done.stdout
    assert Folder(location).is_empty()


def test_only_a_disk_has_local_paths(bucket: str, tmp_path: Path) -> None:
    assert Folder(str(tmp_path)).local("a/b") == tmp_path / "a" / "b"
    with pytest.raises(InputError, match="expected a local folder"):
        Folder(bucket).local("a")


def test_a_location_that_cannot_hold_an_atlas(bucket: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="is a file"):
        Folder(str(tmp_path / "file")).is_empty()
    with pytest.raises(InputError, match="there is no bucket"):
        Folder(bucket + "-not-there/x").is_empty()


def test_location_of_a_bucket(bucket: str, s3_endpoint: str) -> None:
    name = bucket.removeprefix("s3://")
    assert filesystem(f"{bucket}/a?b/c=d/")[1] == f"{name}/a?b/c=d"
    where, path = filesystem(f"{bucket}/a?endpoint_override={s3_endpoint}&region=us-east-1")
    assert path == f"{name}/a"
    assert where is filesystem(bucket)[0]
