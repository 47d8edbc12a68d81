"""From the contributions at a layer's examples to its edges: which maps count, and what their removal takes.

An edge's strength is the mean over examples of contribution ÷ sum of absolute contributions: its share. Every third
example is kept from that ranking and tests it. A layer is a sum, so what the removal of a map (held at its mean over
the data) takes from the response at a position is exactly its contribution less that of its mean. As a share of the
response r above r₀, that to the data's mean colour:

    drop of a set = Σ over the set of (contribution − contribution at its mean) / (r − r₀)

Beside the first 1, 3 and 10 of the ranking stand as many maps chosen otherwise (`settings.RANKINGS`), of the same
neuron on the same examples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from atlas.connections.apart import Apart
from atlas.connections.settings import RANKINGS, REMOVED, STRONGEST, TOLERANCE

Doubles = NDArray[np.float64]
Order = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Seen:
    """E examples of one layer, ordered by channel, side and rank. Vectors are rows of (E, J).

    `use`: find, test or spread. `share`: contribution ÷ Σ|contributions|. `active`: mean absolute activation of each
    map. `lost`: what the removal of each map takes, in the unit of the response, of `test` rows. `shuffled`: shares in
    the shuffled network, of `find` rows. `total`, `grey`, `error` (E,): the sum, that for the mean colour, how far the
    parts are from adding up to it.
    """

    channel: Order
    use: NDArray[np.str_]
    share: Doubles
    active: Doubles
    lost: Doubles
    shuffled: Doubles | None
    total: Doubles
    grey: Doubles
    error: Doubles


@dataclass(eq=False)
class Edges:
    """A layer's edges. `mean`, `spread` (channels, J): shares, NaN of neurons without examples. `drop`, `drop_random`
    (channels, len(REMOVED)), NaN where not tested. `curves`: by (ranking, removed) the drops of the neurons that were
    tested in every way, in one order. `activity`: by the same, the activation of what was removed ÷ that of the first
    of the ranking. `half`: median number of maps that carry half of Σ|share|. `error`: largest miss ÷ root mean square
    of the sums."""

    apart: Apart
    mean: Doubles
    spread: Doubles
    drop: Doubles
    drop_random: Doubles
    curves: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    activity: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    half: float | None = None
    error: float | None = None

    @property
    def why(self) -> str | None:
        """Why there are no edges, or None."""
        if self.apart.why is None and self.error is not None and self.error > TOLERANCE:
            return (
                f"its parts miss its response by {self.error:.2g} of its scale: it is more than a sum of weighted maps"
            )
        return self.apart.why


def edges(apart: Apart, seen: Seen, seed: int) -> Edges:
    """The edges of one layer from all of its examples."""
    channels, inputs = apart.layer.channels, apart.inputs
    found = Edges(apart, _unknown(channels, inputs), _unknown(channels, inputs), *_untested(channels))
    sums = apart.sums.numpy()
    halves = []
    for channel, rows in _by_channel(seen.channel):
        use = seen.use[rows]
        finding = rows[use == "find"]
        if len(rows[use == "spread"]):
            found.spread[channel] = seen.share[rows[use == "spread"]].mean(0)
        if not len(finding):
            continue
        found.mean[channel] = share = seen.share[finding].mean(0)
        halves.append(half(share))
        tested = [row for row in rows[use == "test"].tolist() if seen.total[row] > seen.grey[row]]
        if not tested:
            continue
        gaps = (seen.total[tested] - seen.grey[tested])[:, None]
        lost = (seen.lost[tested] / gaps).mean(0)  # (J,)
        shuffled = None if seen.shuffled is None else seen.shuffled[finding].mean(0)
        chosen = rankings(share, seen.active[finding].mean(0), sums[channel], shuffled, _rng(seed, apart, channel))
        _test(found, channel, chosen, lost, seen.active[finding].mean(0))
    found.half = float(np.median(halves)) if halves else None
    if len(seen.total):
        found.error = float(seen.error.max() / max(np.sqrt(np.square(seen.total).mean()), 1e-30))
    return found


def _unknown(rows: int, columns: int) -> Doubles:
    return np.full((rows, columns), np.nan)


def _untested(channels: int) -> tuple[Doubles, Doubles]:
    return _unknown(channels, len(REMOVED)), _unknown(channels, len(REMOVED))


def _by_channel(channel: Order) -> Iterator[tuple[int, Order]]:
    order = np.argsort(channel, kind="stable")
    values, starts = np.unique(channel[order], return_index=True)
    yield from zip(values.tolist(), np.split(order, starts[1:]), strict=True)


def _rng(seed: int, apart: Apart, channel: int) -> np.random.Generator:
    digest = hashlib.blake2b(f"{seed}/connections/{apart.layer.name}/{channel}".encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))


def half(share: Doubles) -> int:
    """How many maps carry half of the absolute contributions: the least number."""
    sizes = np.sort(np.abs(share))[::-1]
    return int(np.searchsorted(np.cumsum(sizes), sizes.sum() / 2) + 1)


def rankings(
    share: Doubles, active: Doubles, sums: Doubles, shuffled: Doubles | None, rng: np.random.Generator
) -> dict[int, dict[str, Order]]:
    """By number n of `REMOVED` the n maps that each ranking chooses; none where less than n contribute positively.

    `random` and `equal` choose among the others; they are left out where those are less than n.
    """
    order = np.argsort(-share, kind="stable")
    mixed = rng.permutation(len(share))
    chosen: dict[int, dict[str, Order]] = {}
    for n in REMOVED:
        if n > int((share > 0).sum()):
            break
        first = order[:n]
        chosen[n] = {
            "contribution": first,
            "active": np.argsort(-active, kind="stable")[:n],
            "weight": np.argsort(-sums, kind="stable")[:n],
        }
        others = mixed[~np.isin(mixed, first)]
        if len(others) >= n:
            chosen[n] |= {"random": others[:n], "equal": equally_active(first, others, active)}
        chosen[n]["chance"] = mixed[:n]
        if shuffled is not None:
            chosen[n]["shuffled"] = np.argsort(-shuffled, kind="stable")[:n]
    return chosen


def equally_active(first: Order, others: Order, active: Doubles) -> Order:
    """For each of `first`, the most active one first, that of `others` whose activation is nearest and not yet taken.

    Of equally near ones the first in `others`, whose order is random.
    """
    left, taken = others, []
    for each in first[np.argsort(-active[first], kind="stable")].tolist():
        nearest = int(np.argmin(np.abs(active[left] - active[each])))
        taken.append(int(left[nearest]))
        left = np.delete(left, nearest)
    return np.array(taken, np.int64)


def _test(
    found: Edges, channel: int, chosen: Mapping[int, Mapping[str, Order]], lost: Doubles, active: Doubles
) -> None:
    """Writes down what the removal of each choice takes."""
    for place, n in enumerate(REMOVED):
        sets = chosen.get(n)
        if sets is None:
            break
        found.drop[channel, place] = lost[sets["contribution"]].sum()
        if "equal" not in sets:
            continue
        found.drop_random[channel, place] = lost[sets["equal"]].sum()
        scale = active[sets["contribution"]].sum()
        for ranking, maps in sets.items():
            found.curves.setdefault((ranking, n), []).append(float(lost[maps].sum()))
            found.activity.setdefault((ranking, n), []).append(float(active[maps].sum() / scale) if scale else 1.0)


def removals(found: Edges) -> list[dict[str, float | str | int]]:
    """A row a ranking and number removed: the median `drop` over neurons, the median of how much less it is than that
    of the strongest contributions (`less`), the median `activity`, and `neurons`."""
    rows: list[dict[str, float | str | int]] = []
    for ranking in RANKINGS:
        for n in REMOVED:
            drops = found.curves.get((ranking, n))
            if drops is None:
                continue
            less = np.subtract(found.curves["contribution", n], drops)
            rows.append(
                {
                    "layer": found.apart.layer.name,
                    "ranking": ranking,
                    "removed": n,
                    "drop": float(np.median(drops)),
                    "less": float(np.median(less)),
                    "activity": float(np.median(found.activity[ranking, n])),
                    "neurons": len(drops),
                }
            )
    return rows


@dataclass(frozen=True, eq=False)
class Strongest:
    """Rows of one direction: neuron `channel` of layer number `number`, `rank`, and the other end as the number of an
    origin (direction from) or a neuron (direction to: `other_number`, `other`)."""

    number: Order
    channel: Order
    rank: Order
    other_number: Order
    other: Order
    contribution: Doubles
    spread: Doubles
    weight: Doubles


def ranked(values: Doubles) -> tuple[Order, Order]:
    """Places of the ten largest positive values, then of the ten largest negative ones, and their ranks: the positive
    from 0, the negative from `STRONGEST`. Of equal ones the first; zeros have none."""
    up = np.argsort(-values, kind="stable")[:STRONGEST]
    down = np.argsort(values, kind="stable")[:STRONGEST]
    up, down = up[values[up] > 0], down[values[down] < 0]
    return np.concatenate([up, down]), np.concatenate([np.arange(len(up)), STRONGEST + np.arange(len(down))])


def feeding(number: int, found: Edges) -> Strongest:
    """Direction `from`: what feeds each neuron of layer `number`; `other` numbers the origins."""
    origins, norms = found.apart.origins.numpy(), found.apart.norms.numpy()
    rows: list[tuple[float, ...]] = []
    for channel in np.flatnonzero(~np.isnan(found.mean).any(1)).tolist():
        places, ranks = ranked(found.mean[channel])
        of = origins[min(channel, len(origins) - 1)]
        for place, rank in zip(places.tolist(), ranks.tolist(), strict=True):
            strength = found.mean[channel, place], found.spread[channel, place], norms[channel, place]
            rows.append((number, channel, rank, -1, of[place], *strength))
    return _strongest(rows)


def _strongest(rows: Sequence[tuple[float, ...]]) -> Strongest:
    columns = np.array(rows, np.float64).reshape(-1, 8).T
    whole = [column.astype(np.int64) for column in columns[:5]]
    return Strongest(whole[0], whole[1], whole[2], whole[3], whole[4], columns[5], columns[6], columns[7])


def fed(layers: Sequence[Edges], owner: Mapping[int, tuple[int, int]]) -> Strongest:
    """Direction `to`: what each neuron feeds, over all layers that read it.

    `owner`: by number of an origin that is a recorded neuron its layer's number and its channel. Order: by strength,
    then by layer and channel.
    """
    best: dict[int, list[tuple[float, int, int, float, float]]] = {}
    for number, found in enumerate(layers):
        for origin, columns in _best_readers(found, owner):
            best.setdefault(origin, []).extend((m, number, c, s, w) for m, c, s, w in columns)
    rows: list[tuple[float, ...]] = []
    for origin in sorted(best, key=lambda each: owner[each]):
        readers = sorted(best[origin], key=lambda each: (each[1], each[2]))
        places, ranks = ranked(np.array([each[0] for each in readers]))
        for place, rank in zip(places.tolist(), ranks.tolist(), strict=True):
            share, number, channel, spread, weight = readers[place]
            rows.append((*owner[origin], rank, number, channel, share, spread, weight))
    return _strongest(rows)


def _best_readers(
    found: Edges, owner: Mapping[int, tuple[int, int]]
) -> Iterator[tuple[int, list[tuple[float, int, float, float]]]]:
    """By origin, the strongest neurons of one layer that read it: share, channel, spread, weight."""
    whole = np.flatnonzero(~np.isnan(found.mean).any(1))
    if not len(whole) or not found.apart.inputs:
        return
    origins = found.apart.origins.numpy()
    norms = found.apart.norms.numpy()
    flat = np.broadcast_to(origins, found.mean.shape)[whole].reshape(-1)
    order = np.argsort(flat, kind="stable")
    names, starts = np.unique(flat[order], return_index=True)
    for name, group in zip(names.tolist(), np.split(order, starts[1:]), strict=True):
        if name not in owner:
            continue
        rows, columns = whole[group // found.apart.inputs], group % found.apart.inputs
        values = found.mean[rows, columns]
        yield (
            name,
            [
                (
                    float(values[i]),
                    int(rows[i]),
                    float(found.spread[rows[i], columns[i]]),
                    float(norms[rows[i], columns[i]]),
                )
                for i in ranked(values)[0].tolist()
            ],
        )
