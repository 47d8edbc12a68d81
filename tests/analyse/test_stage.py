"""The codes stage on a network whose neurons are known: copies, a negation, a permutation, class detectors."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from atlas.analyse import duplicates, sample, similar, stage
from atlas.codes import index
from atlas.errors import FolderError, NetworkError
from atlas.store import layout, parquet
from atlas.tables import BY_NAME
from atlas.tables.codes import codes
from atlas.tables.images import IMAGES
from atlas.tables.network import AXIS
from atlas.tables.neurons import NEURONS
from tests import naive_codes
from tests.constructed_codes import CLASSES, PERMUTATION, Constructed, make, write_codes


def run(made: Constructed) -> stage.CodesResult:
    return stage.run(made.folder, made.settings, made.layers, made.neurons, made.examples, made.properties)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Constructed, stage.CodesResult]:
    made = make(tmp_path_factory.mktemp("constructed"), map_layers=("a",))
    return made, run(made)


Built = tuple[Constructed, stage.CodesResult]


def rows(made: Constructed, name: str, **wanted: Any) -> list[dict[str, Any]]:
    found = parquet.read(made.folder, name).to_pylist()
    return [row for row in found if all(row[key] == value for key, value in wanted.items())]


def test_tables_are_by_the_schema(built: Built) -> None:
    made, result = built
    for name in ("map", "similar", "near_misses", "properties"):
        table = parquet.read(made.folder, name)
        assert table.schema.equals(BY_NAME[name].columns)
        assert table.num_rows > 0
    assert result.neurons.column("vector").type == NEURONS.columns.field("vector").type
    assert result.examples.column("duplicate_of").type == pa.int64()
    assert set(result.axis) == {"a", "b", "c"}
    assert all(set(row) == {field.name for field in AXIS} for row in result.axis.values())


@pytest.mark.parametrize("by", similar.BY)
def test_a_permuted_layer_is_recognised(built: Built, by: str) -> None:
    """Each neuron of b is most similar to the one of a that it copies, and a constant one to none."""
    made, _ = built
    for channel, copied in enumerate(PERMUTATION):
        found = rows(made, "similar", layer="b", channel=channel, by=by)
        if copied == 6:
            assert found == []
            continue
        assert [row["rank"] for row in found] == list(range(10))
        assert (found[0]["other_layer"], found[0]["other_channel"]) == ("a", copied)
        assert found[0]["similarity"] == 1
        assert ("b", channel) not in {(row["other_layer"], row["other_channel"]) for row in found}


def test_a_doubled_copy_is_similar_and_a_negation_is_not(built: Built) -> None:
    made, _ = built
    for by in similar.BY:
        doubled = rows(made, "similar", layer="c", channel=1, by=by)
        assert [(row["other_layer"], row["other_channel"]) for row in doubled[:2]] == [("a", 1), ("b", 3)]
        negated = rows(made, "similar", layer="c", channel=0, by=by)
        assert ("a", 0) not in {(row["other_layer"], row["other_channel"]) for row in negated}
    order = sample.Order(made.neurons)
    profiles, _ = similar.response_profiles(order, sample.Sample(made.folder, len(order)))
    assert float(profiles[0] @ profiles[16]) == pytest.approx(-1, abs=1e-6)


@pytest.mark.parametrize("by", similar.BY)
def test_similar_against_the_slow_twin(built: Built, by: str) -> None:
    made, result = built
    names = list(zip(made.neurons["layer"].to_pylist(), made.neurons["channel"].to_pylist(), strict=True))
    if by == "code":
        vectors = result.neurons.column("vector").to_pylist()
        kept = [i for i, vector in enumerate(vectors) if vector is not None]
        profiles = np.array([vectors[i] for i in kept])
    else:
        responses = np.concatenate(list(made.responses.values()), axis=1).T.astype(np.float64)
        kept = [i for i, values in enumerate(responses) if values.min() < values.max()]
        profiles = responses[kept][:, made.sample]
        if by == "classes":
            means = [responses[kept][:, made.classes == c].mean(axis=1) for c in range(CLASSES)]
            profiles = np.stack(means, 1)
    for own, expected in zip(kept, naive_codes.similar(profiles, 10, by != "code"), strict=True):
        found = rows(made, "similar", layer=names[own][0], channel=names[own][1], by=by)
        assert [row["similarity"] for row in found] == pytest.approx([value for _, value in expected], abs=3e-6)
        if own < 5:
            first = found[0]
            assert (first["other_layer"], first["other_channel"]) == names[kept[expected[0][0]]]


def test_vectors_against_the_slow_twin(built: Built) -> None:
    made, result = built
    place = {image: row for row, image in enumerate(made.ids.tolist())}
    for neuron in result.neurons.to_pylist():
        side = pc.and_(
            pc.and_(pc.equal(made.examples["layer"], neuron["layer"]), pc.equal(made.examples["side"], "max")),
            pc.equal(made.examples["channel"], neuron["channel"]),
        )
        examples = made.examples.filter(side).to_pylist()
        if not examples:
            assert neuron["vector"] is None
            continue
        codes = [made.codes[place[row["image_id"]]].tolist() for row in examples]
        expected = naive_codes.mean_code(codes, [row["response"] for row in examples])
        assert neuron["vector"] == pytest.approx(expected, rel=1e-5)


def test_near_misses_resemble_and_do_not_excite(built: Built) -> None:
    """Against a slow search: every image of the sample below the median, closest first."""
    made, result = built
    for layer, values in made.responses.items():
        for channel in range(values.shape[1]):
            number = list(zip(made.neurons["layer"].to_pylist(), made.neurons["channel"].to_pylist(), strict=True))
            vector = result.neurons["vector"][number.index((layer, channel))].as_py()
            found = rows(made, "near_misses", layer=layer, channel=channel)
            if vector is None:
                assert found == []
                continue
            sampled = values[made.sample, channel]
            low = made.sample[sampled < np.median(sampled)]
            expected = naive_codes.nearest(made.codes[low], made.ids[low].tolist(), vector, 10)
            assert [row["image_id"] for row in found] == expected
            assert all(row["response"] == values[(row["image_id"] - 1) // 2, channel] for row in found)


def test_the_brightness_neuron_is_found_and_chance_is_not(built: Built) -> None:
    made, result = built
    found = {(r["layer"], r["channel"], r["property"]) for r in rows(made, "properties", significant=True)}
    assert found == {("a", 5, "brightness"), ("b", 4, "brightness")}
    about = result.compared["properties"]
    assert about["tests"] == len(rows(made, "properties")) == 16 * 9  # constant: two neurons, and the height
    assert about["p_below"] == 0.05 / about["tests"]
    assert {row["n"] for row in rows(made, "properties")} == {200}


def test_class_detectors_have_an_axis_of_their_own(built: Built) -> None:
    """The detectors of layer a are more selective than directions through it."""
    _, result = built
    row = result.axis["a"]
    assert row["selectivity_neurons"] > row["selectivity_random"] + 0.1
    assert row["purity_neurons"] == 1
    assert row["closeness_neurons"] > row["closeness_random"]


def test_map_holds_every_image_once_a_kind(built: Built) -> None:
    made, result = built
    found = parquet.read(made.folder, "map")
    for kind, ids in (("tsne", made.ids), ("pca", made.ids), ("pca:a", made.ids[made.sample])):
        assert sorted(row["image_id"] for row in rows(made, "map", kind=kind)) == ids.tolist()
    tsne = found.filter(pc.equal(found["kind"], "tsne"))
    cells = set(zip(tsne["grid_row"].to_pylist(), tsne["grid_column"].to_pylist(), strict=True))
    assert len(cells) == 300
    assert max(max(cell) for cell in cells) == 17
    assert result.map["tsne"]["preservation"] > result.map["pca"]["preservation"]
    assert sum(result.map["pca"]["explained"]) == pytest.approx(1)


def test_same_bytes_again_and_with_other_threads(built: Built, tmp_path: Path) -> None:
    """A second run in another process, told to use four threads, writes the same bytes."""
    made, _ = built
    script = (
        "import sys, faiss; from pathlib import Path\n"
        "from tests.constructed_codes import make; from atlas.analyse import stage\n"
        "faiss.omp_set_num_threads(4)\n"
        "made = make(Path(sys.argv[1]), map_layers=('a',), part=50)\n"
        "stage.run(made.folder, made.settings, made.layers, made.neurons, made.examples, made.properties)"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "4", "OPENBLAS_NUM_THREADS": "4"}
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, cwd=root, env=environment)
    for path in (layout.INDEX, *(layout.table(n) for n in ("map", "similar", "near_misses", "properties"))):
        assert (tmp_path / path).read_bytes() == made.folder.get(path), path


def test_nine_pictures_of_one_photograph_are_marked(tmp_path: Path) -> None:
    made = make(tmp_path, twins=True)
    result = run(made)
    first, *marked = (
        row
        for row in result.examples.to_pylist()
        if (row["layer"], row["channel"], row["side"]) == ("a", 0, "max") and row["rank"] < 4
    )
    assert first["duplicate_of"] is None
    assert [row["duplicate_of"] for row in marked] == [first["image_id"]] * 3
    codes = dict(zip(made.ids.tolist(), made.codes.tolist(), strict=True))
    for row in result.examples.to_pylist():
        if row["duplicate_of"] is not None:
            assert naive_codes.cosine(codes[row["image_id"]], codes[row["duplicate_of"]]) >= duplicates.COSINE


def test_equal_bytes_are_marked_whatever_the_codes(tmp_path: Path) -> None:
    made = make(tmp_path)
    images = parquet.read(made.folder, "images").to_pylist()
    pair = [row["image_id"] for row in made.examples.slice(0, 9).to_pylist()][2:8:5]
    for row in images:
        row["thumbnail"] |= {"pack": "p.tar", "offset": 0, "length": row["image_id"], "crc32": 2**32 - 1, "why": None}
        if row["image_id"] in pair:
            row["thumbnail"] |= {"length": 7, "crc32": 8}
    parquet.write(made.folder, "images", pa.Table.from_pylist(images, IMAGES.columns))
    found = run(made).examples.slice(0, 9).to_pylist()
    assert {row["image_id"]: row["duplicate_of"] for row in found}[pair[1]] == pair[0]


@pytest.mark.parametrize("count", [1, 2, 4, 5, 30])
def test_few_images_are_no_error(tmp_path: Path, count: int) -> None:
    made = make(tmp_path, count)
    result = run(made)
    kinds = set(parquet.read(made.folder, "map")["kind"].to_pylist())
    assert kinds == ({"pca", "tsne"} if count >= 5 else {"pca"})
    assert ("why" in result.map["tsne"]) == (count < 5)
    assert (result.index["recall_at_10"] is None) == (count == 1)


def test_equal_codes_give_no_tsne_and_say_why(tmp_path: Path) -> None:
    made = make(tmp_path, 20)
    table = next(parquet.read_files(made.folder, "codes"))
    values = pa.FixedSizeListArray.from_arrays(pa.array(np.ones(20 * 12, np.float32)), 12)
    equal = table.set_column(1, "code", values)
    parquet.write_batches(made.folder, layout.file_of("codes", 0), codes(12), [equal])
    assert run(made).map["tsne"] == {"images": 0, "why": "all codes are equal"}


def test_lists_instead_of_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "EXACT_VALUES", 0)
    assert run(make(tmp_path)).index["kind"] == "ivf"


def test_without_measured_properties_and_without_a_sample(tmp_path: Path) -> None:
    made = make(tmp_path, 12)
    made.folder.remove("responses")
    result = stage.run(made.folder, made.settings, made.layers, made.neurons, made.examples, None)
    assert result.compared["properties"]["why"] == "nothing was measured"
    assert result.axis == {}
    assert len(parquet.read(made.folder, "near_misses")) == 0


def test_what_does_not_fit_is_said_in_one_line(tmp_path: Path) -> None:
    made = make(tmp_path, 12, map_layers=("nowhere",))
    with pytest.raises(NetworkError, match="--map-layers nowhere: expected a recorded layer, one of a, b, c"):
        run(made)
    made = make(tmp_path, 12)
    with pytest.raises(FolderError, match="expected a row in neurons"):
        stage.run(made.folder, made.settings, made.layers, made.neurons.slice(3), made.examples, None)


def test_codes_that_are_not_finite_are_like_no_other(tmp_path: Path) -> None:
    made = make(tmp_path, 60)
    made.codes[7] = np.nan
    made.codes[8, 3] = np.inf
    write_codes(made.folder, made.ids, made.codes, False, 60)
    result = run(made)
    bad = made.ids[[7, 8]].tolist()
    assert result.map["tsne"]["why"] == "a code is not finite"
    placed = rows(made, "map", kind="pca")
    assert [row["image_id"] for row in placed if not math.isfinite(row["x"])] == bad
    assert not {row["image_id"] for row in rows(made, "near_misses") if row["similarity"] > 0} & set(bad)
    assert result.index["recall_at_10"] == 1
