"""Numbers, evidence and checks as words for people: the pages' filters. Plain functions over the models' values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from markupsafe import Markup

from atlas.explain.kinds import KINDS

FEW = 12
"""Values of a list that are written out."""
NAMES = {
    **{kind.name: kind.label for kind in KINDS},
    "whole": "Whole image",
    "max": "Strongest",
    "min": "Weakest",
    "spread": "Spread",
    "code": "By code of their examples",
    "classes": "By their classes",
    "responses": "By their responses",
    "sealed": "sealed",
    "begun": "begun, not sealed",
    "damaged": "left out",
    "own": "its own layer's weights",
    "cascade": "the weights of its layer and of all that feeds it",
    "all": "all weights",
}


def name(word: str) -> str:
    """A word of the tables as people read it."""
    return NAMES.get(word, word)


def figures(value: float | None) -> str:
    """Three significant figures, a comma between thousands, a true minus; – for none."""
    if value is None or not math.isfinite(value):
        return "–"
    size = abs(value)
    if size >= 1000 or size == int(size) < 1000:
        text = f"{size:,.0f}"
    elif size >= 100:
        text = f"{size:.0f}"
    elif size >= 10:
        text = f"{size:.1f}"
    elif size >= 0.01:
        text = f"{size:.2f}"
    else:
        text = f"{size:.1g}"
    return f"\u2212{text}" if value < 0 and text.strip("0.") else text


def count(value: int | None) -> str:
    """A whole number with a comma between thousands."""
    return "–" if value is None else f"{value:,}"


def percent(value: float | None) -> str:
    """A share of 1 as a percentage: a decimal only where it tells something; never 100 % for less than all."""
    if value is None or not math.isfinite(value):
        return "–"
    hundred = 100 * value
    if hundred and abs(hundred) < 0.1:
        return "<\u202f0.1\u202f%" if hundred > 0 else "0\u202f%"
    if 0 < abs(hundred) < 9.95 or 99 < abs(hundred) < 100:
        text = f"{hundred:.1f}"
        return f"{'99.9' if text == '100.0' else text.removesuffix('.0')}\u202f%".replace("-", "\u2212")
    return f"{hundred:.0f}\u202f%".replace("-", "\u2212")


def plural(number: int, word: str, many: str = "") -> str:
    """`1 image`, `2 images`."""
    return f"{count(number)} {word if number == 1 else many or word + 's'}"


def shown(value: Any) -> str:
    """A value of a table as people read it, whatever it is."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return count(value)
    if isinstance(value, float):
        return figures(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {shown(each)}" for name, each in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) > FEW:
            return f"{count(len(value))} values"
        return ", ".join(shown(each) for each in value)
    return str(value)


def pixels(pair: Mapping[str, int]) -> str:
    """A size in pixels, across and down."""
    return f"{pair['x']}\u202f×\u202f{pair['y']}"


def degrees(radians: float) -> str:
    """An angle in whole degrees, 0 to 359."""
    return f"{round(math.degrees(radians)) % 360}\u00b0"


def span(each: Mapping[str, Any], kind: str) -> str:
    """What the images of a bin have: a word, or from the smallest to the largest value."""
    if each["value"] is not None:
        return str(each["value"])
    if each["low"] is None:
        return "all"
    says = degrees if kind == "angle" else figures
    low, high = says(each["low"]), says(each["high"])
    return low if low == high else f"{low} to {high}"


def evidence(trust: Mapping[str, Any] | None) -> str:
    """What the masking test says of one kind of picture, beside the same mask laid at random."""
    if not trust or trust["sufficiency"] is None:
        return "Not tested."
    kept, kept_random = trust["sufficiency"], trust["sufficiency_random"]
    lost, lost_random = trust["comprehensiveness"], trust["comprehensiveness_random"]
    first = f"Keeps {percent(kept)} of the response with only the marked fifth"
    first += f"; a random fifth keeps {percent(kept_random)}." if kept_random is not None else "."
    if lost is None:
        return first
    second = f" Hiding the marked fifth takes away {percent(lost)}"
    second += f"; hiding a random fifth {percent(lost_random)}." if lost_random is not None else "."
    return first + second


def verdict(trust: Mapping[str, Any] | None) -> str:
    """The same in three words, by how far it is beyond chance."""
    if not trust or trust["sufficiency"] is None or trust["sufficiency_random"] is None:
        return "not tested"
    gain = trust["sufficiency"] - trust["sufficiency_random"]
    if trust["comprehensiveness"] is not None and trust["comprehensiveness_random"] is not None:
        gain = (gain + trust["comprehensiveness"] - trust["comprehensiveness_random"]) / 2
    for least, words in ((0.4, "far beyond chance"), (0.15, "beyond chance"), (0.03, "little beyond chance")):
        if gain >= least:
            return words
    return "no better than chance"


def kinds(examples: Sequence[Mapping[str, Any]]) -> list[str]:
    """The kinds of picture that at least one of the examples has, in the order of `KINDS`; unknown ones last."""
    there = {kind for each in examples for kind, picture in each["pictures"].items() if picture["url"]}
    known = [kind.name for kind in KINDS if kind.name in there]
    return [*known, *sorted(there.difference(known))]


def scale(kind: str) -> str:
    """What the values of a kind of picture mean: signed, magnitude or heat."""
    return next((known.scale for known in KINDS if known.name == kind), "signed")


def rectangle(box: Mapping[str, float]) -> Markup:
    """A box as the attributes of an SVG rectangle."""
    left, top = box["left"], box["top"]
    width, height = box["right"] - left, box["bottom"] - top
    return Markup(f'x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}"')  # numbers only


def largest_first(held: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Things with a `box`, the largest box first, so that the smaller ones are drawn above it."""
    boxed = [(each["box"], each) for each in held]
    area = [(box["right"] - box["left"]) * (box["bottom"] - box["top"]) for box, _ in boxed]
    return [boxed[index][1] for index in sorted(range(len(boxed)), key=lambda i: -area[i])]


def middle(values: Iterable[float | None]) -> float | None:
    """The median of those that are there."""
    there = [value for value in values if value is not None and math.isfinite(value)]
    return median(there) if there else None


def beliefs(layers: Sequence[Mapping[str, Any]], sanity: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """How far each kind of picture can be believed: medians over layers of the masking and of the shuffling tests.

    A list of `{kind, trust, layers, neurons, shuffled}`; `trust` as in the models, `layers` and `neurons` what it is
    over, `shuffled` a list of `{randomised, similarity, measure, layers}` (similarity 1: the picture does not care
    about the weights).
    """
    kinds = list(dict.fromkeys([*(kind for layer in layers for kind in layer["trust"]), *(s["kind"] for s in sanity)]))
    found = []
    for kind in kinds:
        tested = _tested(layers, kind)
        trust = {part: middle(each[part] for each in tested.values()) for part in _SHARES}
        found.append(
            {
                "kind": kind,
                "trust": trust | {"n": len(tested)} if tested else None,
                "layers": len(tested),
                "neurons": sum(each["n"] for each in tested.values()),
                "shuffled": _shuffled([row for row in sanity if row["kind"] == kind]),
            }
        )
    return found


_SHARES = ("sufficiency", "comprehensiveness", "sufficiency_random", "comprehensiveness_random", "score")


def _tested(layers: Sequence[Mapping[str, Any]], kind: str) -> dict[str, Mapping[str, Any]]:
    found = {layer["layer"]: layer["trust"].get(kind) for layer in layers}
    return {name: trust for name, trust in found.items() if trust and trust["sufficiency"] is not None}


def compared(layers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Two kinds beside each other over the layers where both are defined, where one is defined for other layers.

    A list of `{first, second, sufficiency: (of the first, of the second), layers}`.
    """
    kinds = list(dict.fromkeys(kind for layer in layers for kind in layer["trust"]))
    tested = {kind: _tested(layers, kind) for kind in kinds}
    found = []
    for at, first in enumerate(kinds):
        for second in kinds[at + 1 :]:
            both = tested[first].keys() & tested[second].keys()
            if both and tested[first].keys() != tested[second].keys():
                shares = tuple(middle(tested[kind][name]["sufficiency"] for name in both) for kind in (first, second))
                found.append({"first": first, "second": second, "sufficiency": shares, "layers": len(both)})
    return found


def _shuffled(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    measures = {row["measure"] for row in rows}
    chosen = min(measures, key=lambda m: ("rank" not in m, "signed" not in m, m), default=None)
    result = []
    for how in ("own", "cascade", "all"):
        some = [row for row in rows if row["randomised"] == how and row["measure"] == chosen]
        similarity = middle(row["similarity"] for row in some)
        if similarity is not None:
            result.append({"randomised": how, "similarity": similarity, "measure": chosen, "layers": len(some)})
    return result


def sanity_in_words(similarity: float | None) -> str:
    """What a picture that is this similar after its weights were shuffled is worth."""
    if similarity is None:
        return "not tested"
    if similarity >= 0.7:
        return "hardly changes: it shows the image more than the network"
    if similarity >= 0.35:
        return "changes in part"
    return "changes altogether, as it should"


FILTERS: dict[str, Callable[..., Any]] = {
    "name": name,
    "figures": figures,
    "count": count,
    "percent": percent,
    "plural": plural,
    "shown": shown,
    "pixels": pixels,
    "degrees": degrees,
    "span": span,
    "evidence": evidence,
    "verdict": verdict,
    "kinds": kinds,
    "scale": scale,
    "rectangle": rectangle,
    "largest_first": largest_first,
    "sanity_in_words": sanity_in_words,
}
"""For the templates' environment."""
