"""Accuracy and loss as a function of each attribute: bins, counts by DuckDB, rows.

Numbers fall into tenths of the images (equal values into one bin, so that there may be fewer), angles into sectors of
equal width around 0, words as they are. Russakovsky et al. 2015 (ImageNet large scale visual recognition challenge,
section 5.3) plot accuracy as a function of image attributes; what is new here is the accuracy within class, and a test.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from atlas.arrays import Doubles
from atlas.attributes import dependence
from atlas.attributes.dependence import Counts, Dependence
from atlas.attributes.values import ALL, LOSS_UNIT, Attribute, Judged
from atlas.tables import attributes as tables

TENTHS = 10
SECTORS = 8
WORDS = 50
"""Different words beyond which a column is taken for names of images, not for an attribute."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Bin:
    """Numbers: smallest and largest value; angles: the sector [low, high), radian; words: the word."""

    low: float | None = None
    high: float | None = None
    value: str | None = None


@dataclass(frozen=True)
class Tally:
    """Counts of one attribute: `n` and `right` (classes, bins); by bin the sum of the losses, in units of `LOSS_UNIT`,
    how many images have one, and what people answered."""

    n: Counts
    right: Counts
    loss: tuple[int, ...]
    losses: tuple[int, ...]
    people: tuple[People, ...]


@dataclass(frozen=True)
class People:
    """Of the images that people answered too: how many, who is right, who agrees."""

    answered: int
    human: int
    network: int
    agree: int
    only_network: int
    only_human: int

    def row(self) -> Row:
        """The columns about people; null where they answered nothing."""
        if not self.answered:
            return dict.fromkeys(PEOPLE[1:], None) | {"answered": 0}
        shares = (self.human, self.network, self.agree, self.only_network, self.only_human)
        return {"answered": self.answered} | {
            name: count / self.answered for name, count in zip(PEOPLE[1:], shares, strict=True)
        }


PEOPLE = ("answered", "human_top1", "answered_top1", "agreement", "only_network", "only_human")


def curves(judged: Judged) -> tuple[pa.Table, pa.Table]:
    """The tables `accuracy` and `attributes`."""
    every = Attribute(ALL, "NULL", "words")
    accuracy: list[Row] = list(_rows(every, [Bin()], _tally(judged, "0", 1), judged.answered))
    found: list[tuple[Attribute, int, Dependence]] = []
    for attribute in judged.attributes:
        bins, expression, why = _bins(judged, attribute)
        tally = _tally(judged, expression, len(bins))
        if why is None:
            accuracy += _rows(attribute, bins, tally, judged.answered)
            found.append((attribute, int(tally.n.sum()), dependence.dependence(tally.n, tally.right)))
        else:
            found.append((attribute, int(tally.n.sum()), Dependence(None, None, False, why)))
    significant = dependence.holm([each.p for _, _, each in found])
    rows = [
        {"attribute": a.name, "kind": a.kind, "n": n, "effect": d.effect, "p": d.p, "significant": s,
         "within_class": d.within_class, "why": d.why}
        for (a, n, d), s in zip(found, significant, strict=True)
    ]  # fmt: skip
    return (
        pa.Table.from_pylist(accuracy, tables.ACCURACY.columns),
        pa.Table.from_pylist(rows, tables.ATTRIBUTES.columns),
    )


def _rows(attribute: Attribute, bins: list[Bin], tally: Tally, answered: bool) -> Iterator[Row]:
    within = dependence.within_class(tally.n, tally.right) if attribute.name != ALL else [None]
    for number, where in enumerate(bins):
        n, right = int(tally.n[:, number].sum()), int(tally.right[:, number].sum())
        if not n:
            continue
        low, high = dependence.wilson(right, n)
        losses = tally.losses[number]
        yield {
            "attribute": attribute.name, "bin": number, "low": where.low, "high": where.high, "value": where.value,
            "n": n, "top1": right / n, "top1_low": low, "top1_high": high, "top1_within_class": within[number],
            "loss": tally.loss[number] * LOSS_UNIT / losses if losses else None,
            **(tally.people[number].row() if answered else dict.fromkeys(PEOPLE, None)),
        }  # fmt: skip


def _bins(judged: Judged, attribute: Attribute) -> tuple[list[Bin], str, str | None]:
    """Bins, the expression of a row's bin (null without a value), and why there are none."""
    if attribute.kind == "words":
        return _words(judged, attribute)
    if attribute.kind == "angle":
        period = 2 * math.pi / attribute.turns
        width = period / SECTORS
        bins = [Bin((i - 0.5) * width, (i + 0.5) * width) for i in range(SECTORS)]
        sector = f"(floor({attribute.column} / {width!r} + 0.5)::BIGINT % {SECTORS} + {SECTORS}) % {SECTORS}"
        return bins, sector, None
    bins = tenths(_values(judged, attribute))
    above = [f"({attribute.column} > {each.high!r})::INTEGER" for each in bins[:-1]]
    inside = " + ".join(above) if above else "0"
    return bins, f"CASE WHEN {attribute.column} IS NOT NULL THEN {inside} END", None


def _words(judged: Judged, attribute: Attribute) -> tuple[list[Bin], str, str | None]:
    """The words by falling number of images, equal ones by themselves."""
    own = attribute.column
    found = judged.connection.execute(
        f"SELECT {own} FROM judged WHERE {own} IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT {WORDS + 1}"
    ).fetchall()
    if len(found) > WORDS:
        why = f"more than {WORDS} different words: expected words that images share"
        return [Bin()], f"CASE WHEN {own} IS NOT NULL THEN 0 END", why
    words = [str(word) for (word,) in found]
    listed = pa.table({"word": pa.array(words, pa.string()), "place": pa.array(range(len(words)), pa.int32())})
    judged.connection.register("words", listed)
    return [Bin(value=word) for word in words], f"(SELECT place FROM words WHERE word = {own})", None


def _values(judged: Judged, attribute: Attribute) -> Doubles:
    own = attribute.column
    found = judged.connection.execute(f"SELECT {own} FROM judged WHERE {own} IS NOT NULL").fetchnumpy()
    return np.asarray(found[own], np.float64)


def tenths(values: Doubles) -> list[Bin]:
    """Bins of numbers: each ends at the value of the image that completes a tenth, and takes all of its equals."""
    if not len(values):
        return [Bin()]
    at = sorted({math.ceil(i * len(values) / TENTHS) - 1 for i in range(1, TENTHS + 1)} - {-1})
    edges = np.unique(np.partition(values, at)[at])
    lowest = [float(values.min())] + [float(values[values > edge].min()) for edge in edges[:-1]]
    return [Bin(low + 0.0, float(edge) + 0.0) for low, edge in zip(lowest, edges, strict=True)]


def _tally(judged: Judged, place: str, bins: int) -> Tally:
    """Counts by class and bin; `place`: the expression of a row's bin."""
    found = judged.connection.execute(
        f"SELECT class_id, {place} AS bin, count(*) AS n, count(*) FILTER (correct) AS r, "
        "coalesce(sum(loss), 0)::DOUBLE AS loss, count(loss) AS losses, "
        "count(answer) AS answered, count(*) FILTER (human) AS human, "
        "count(*) FILTER (correct AND answer IS NOT NULL) AS network, count(*) FILTER (answer = predicted) AS agree, "
        "count(*) FILTER (correct AND NOT human) AS only_network, "
        "count(*) FILTER (NOT correct AND human) AS only_human "
        "FROM (SELECT *, coalesce(answer = class_id OR list_contains(class_ids, answer), answer = class_id) AS human "
        f"FROM judged) WHERE ({place}) IS NOT NULL GROUP BY ALL ORDER BY class_id, bin"
    ).fetchnumpy()
    classes, row = np.unique(np.asarray(found["class_id"], np.int64), return_inverse=True)
    column = np.asarray(found["bin"], np.int64)

    def table(name: str) -> Counts:
        answer = np.zeros((len(classes), bins), np.int64)
        answer[row, column] = np.asarray(found[name]).astype(np.int64)
        return answer

    def totals(name: str) -> tuple[int, ...]:
        return tuple(table(name).sum(axis=0).tolist())

    names = ("answered", "human", "network", "agree", "only_network", "only_human")
    people = tuple(People(*each) for each in zip(*(totals(name) for name in names), strict=True))
    return Tally(table("n"), table("r"), totals("loss"), totals("losses"), people)
