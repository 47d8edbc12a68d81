"""The whole part: made of a real atlas, once for all workers, sound after kills, checked, replayed, found."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from atlas.errors import InputError, SettingsError
from atlas.store import parts
from atlas.store.sealed import Sealed
from jobs import cli
from jobs.add import add

OPTIONS = {"shuffles": 120, "length": 2, "beam": 4, "least": 3}
FLAGS = [word for name, value in OPTIONS.items() for word in (f"--{name}", str(value))]


@pytest.fixture
def base(tiny_atlas: Path, tmp_path: Path) -> Path:
    """A copy of the tiny atlas."""
    shutil.copytree(tiny_atlas, tmp_path / "atlas")
    return tmp_path / "atlas"


@pytest.fixture(scope="module")
def named(tiny_atlas: Path, tmp_path_factory: pytest.TempPathFactory, embedded_ray: None) -> Path:
    """A copy of the tiny atlas with its words."""
    folder = tmp_path_factory.mktemp("named") / "atlas"
    shutil.copytree(tiny_atlas, folder)
    add(str(folder), "words", workers="1", **OPTIONS)
    return folder


def test_every_neuron_has_a_row_a_side_at_least(named: Path) -> None:
    table = pq.read_table(named / "parts/words/words.parquet")
    first = [row for row in table.to_pylist() if row["rank"] == 0]
    sealed = Sealed(str(named))
    assert len(first) == 2 * len(sealed.table("neurons"))
    assert all(count == 1 for count in Counter((r["layer"], r["channel"], r["side"]) for r in first).values())
    assert any(row["words"] is not None for row in first)
    summary = json.loads((named / "parts/words/part.json").read_text())["summary"]
    assert summary["tests"] == sum(row["words"] is not None for row in first)
    assert summary["shuffled_named"] <= 2
    assert summary["constant_word"] is not None
    assert table.schema.field("excess").metadata[b"unit"] == b"deviation"


def test_it_is_sound_and_its_rows_come_again(named: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", str(named), "--replay", "4"]) == 0
    said = capsys.readouterr().out
    assert "part words: sound" in said
    assert "part words: replay: " in said
    assert "rows made again; largest differences: auprc 0, held_out 0, excess 0" in said
    assert cli.main(["info", str(named)]) == 0
    assert "words" in capsys.readouterr().out


def test_a_changed_word_is_found(named: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "atlas"
    shutil.copytree(named, folder)
    path = folder / "parts/words/words.parquet"
    table = pq.read_table(path)
    words = pa.array(["nonsense" if word else None for word in table.column("words").to_pylist()])
    changed = table.set_column(table.column_names.index("words"), table.schema.field("words"), words)
    pq.write_table(changed, path)
    sealed = Sealed(str(folder))
    part = parts.look(sealed.folder, sealed.digest, "words")
    (folder / "parts/words/SHA256SUMS").unlink()
    parts.seal_part(part.folder, {k: v for k, v in part.about.items() if k != "digest"})
    assert cli.main(["verify", str(folder), "--replay", "4"]) == 1
    assert "'nonsense', now" in capsys.readouterr().out


@pytest.mark.slow
def test_one_digest_for_any_workers_and_after_a_death(base: Path, embedded_ray: None) -> None:
    digests = {add(str(base), "words", workers="1", **OPTIONS)}
    shutil.rmtree(base / "parts")
    digests.add(add(str(base), "words", workers="2", **OPTIONS))
    assert len(digests) == 1


def test_other_settings_files_and_atlases_are_refused(base: Path, tmp_path: Path, embedded_ray: None) -> None:
    table = tmp_path / "concepts.tsv"
    keys = Sealed(str(base)).table("images").column("key").to_pylist()
    table.write_text("".join(f"{key}\t{'odd' if at % 2 else 'even'}\n" for at, key in enumerate(keys)))
    digest = add(str(base), "words", workers="1", concepts=str(table), **OPTIONS)
    assert add(str(base), "words", concepts=str(table), **OPTIONS) == digest
    words = set(pq.read_table(base / "parts/words/words.parquet").column("words").to_pylist())
    assert any(word and ("odd" in word or "even" in word) for word in words)
    with pytest.raises(SettingsError, match="length was 2, now 3"):
        add(str(base), "words", concepts=str(table), **OPTIONS | {"length": 3})
    table.write_text("nothing\tknown\n")
    with pytest.raises(SettingsError, match="concepts was"):
        add(str(base), "words", concepts=str(table), **OPTIONS)
    shutil.rmtree(base / "parts")
    with pytest.raises(InputError, match=r"--concepts .*expected class folders or image keys"):
        add(str(base), "words", concepts=str(table), **OPTIONS)
    assert cli.main(["add", "words", str(base), "--length", "9"]) == 2
