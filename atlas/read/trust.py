"""How far each kind of picture of a neuron, and of a layer, can be trusted: trust.parquet, whatever its kinds."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from atlas.explain.kinds import SHOWN
from atlas.read import source
from atlas.read.layers import Layers
from atlas.read.pictures import none
from atlas.read.records import Array, Records, Words
from atlas.store.files import Folder
from atlas.tables.columns import MEASURES

_TRUST = np.dtype([("kind", "<u2"), *((name, "<f4") for name in (*MEASURES, "score")), ("n", "<i4")])


class Trust(NamedTuple):
    """Medians of the evidence for one kind of picture. `n`: examples of a neuron, neurons of a layer."""

    sufficiency: float | None
    comprehensiveness: float | None
    sufficiency_random: float | None
    comprehensiveness_random: float | None
    score: float | None
    n: int


class Trusts:
    """trust.parquet by neuron and by layer. `kinds`: those there are, in the order in which pages show them."""

    def __init__(self, folder: Folder, layers: Layers) -> None:
        self._words = Words()
        self._records = Records(_TRUST, layers.neurons, "trust.parquet")
        self._layers: dict[str, dict[str, Trust]] = {}
        self._scores: dict[str, Array] = {}
        for batch in source.batches(folder, "trust", dictionary=["layer", "kind"]):
            self._lay_out(batch, layers)
        self.kinds = in_order(self._scores)
        self._first: Array = np.full(layers.neurons, np.nan, np.float32)
        for kind in self.kinds:
            self._first = np.where(np.isnan(self._first), self._scores[kind], self._first)

    def _lay_out(self, batch: Any, layers: Layers) -> None:
        rows = np.empty(len(batch), _TRUST)
        rows["kind"] = self._words.encode(batch.column("kind"), np.uint16)
        for name in (*MEASURES, "score"):
            rows[name] = batch.column(name).fill_null(np.nan).to_numpy(zero_copy_only=False)
        rows["n"] = batch.column("n").fill_null(0).to_numpy()
        whole = batch.column("channel").is_null().to_numpy(zero_copy_only=False)
        names = batch.column("layer").to_pylist() if whole.any() else []
        for at in np.flatnonzero(whole).tolist():
            kind, trust = self._trust(rows[at].item())
            self._layers.setdefault(names[at], {})[kind] = trust
        mine = batch.filter(batch.column("channel").is_valid())
        number = layers.numbers("trust", mine.column("layer"), mine.column("channel"))
        rows = rows[~whole]
        self._records.append(number, rows)
        for kind in np.unique(rows["kind"]).tolist():
            chosen = rows["kind"] == kind
            name = self._words.texts[kind] or ""
            scores = self._scores.setdefault(name, np.full(layers.neurons, np.nan, np.float32))
            scores[number[chosen]] = rows["score"][chosen]

    def _trust(self, values: Any) -> tuple[str, Trust]:
        kind, a, b, c, d, score, n = values
        return self._words.texts[kind] or "", Trust(none(a), none(b), none(c), none(d), none(score), n)

    def of(self, neuron: int) -> dict[str, Trust]:
        """By kind, for a neuron by its number; only what was tested."""
        return dict(self._trust(values) for values in self._records.of(neuron).tolist())

    def of_layer(self, layer: str) -> dict[str, Trust]:
        """By kind, for a layer; only what was tested."""
        return {kind: self._layers[layer][kind] for kind in in_order(self._layers.get(layer, {}))}

    def scores(self, kind: str | None = None) -> Array:
        """Score of every neuron for a kind, or for the first one that the neuron was tested for; NaN where none was."""
        if kind is None:
            return self._first
        return self._scores.get(kind, np.full(len(self._first), np.nan, np.float32))

    def close(self) -> None:
        self._records.close()


def in_order(kinds: Any) -> tuple[str, ...]:
    """Kinds in the order in which pages show them; those that this version does not know come last."""
    return tuple(sorted(kinds, key=lambda kind: (SHOWN.index(kind) if kind in SHOWN else len(SHOWN), kind)))
