"""Numbers, evidence and checks as words for people: the pages' filters. Plain functions over the models' values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from markupsafe import Markup

from atlas.explain.kinds import KINDS

NAMES = {
    **{kind.name: kind.label for kind in KINDS},
    "whole": "Whole image",
    "max": "Strongest",
    "min": "Weakest",
    "spread": "Spread",
    "code": "By code of their examples",
    "classes": "By their classes",
    "responses": "By their responses",
    "own": "its own layer's weights",
    "cascade": "the weights from the output down to it",
    "all": "all weights",
}


def name(word: str) -> str:
    """A word of the tables as people read it."""
    return NAMES.get(word, word)


def figures(value: float | None) -> str:
    """Three significant figures, a thin space between thousands, a true minus; – for none."""
    if value is None or not math.isfinite(value):
        return "–"
    size = abs(value)
    if size >= 1000 or size == int(size) < 1000:
        text = f"{size:,.0f}".replace(",", "\u202f")
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
    """A whole number with a thin space between thousands."""
    return "–" if value is None else f"{value:,}".replace(",", "\u202f")


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


def pixels(pair: Mapping[str, int]) -> str:
    """A size in pixels, across and down."""
    return f"{pair['x']}\u202f×\u202f{pair['y']}"


def evidence(trust: Mapping[str, Any] | None) -> str:
    """What the masking test says of one kind of picture, beside the same mask laid at random."""
    if not trust or trust["keeps"] is None:
        return "Not tested."
    first = f"Keeps {percent(trust['keeps'])} of the response with only the marked fifth"
    first += f"; a random fifth keeps {percent(trust['keeps_random'])}." if trust["keeps_random"] is not None else "."
    if trust["loses"] is None:
        return first
    second = f" Hiding the marked fifth takes away {percent(trust['loses'])}"
    second += f"; hiding a random fifth {percent(trust['loses_random'])}." if trust["loses_random"] is not None else "."
    return first + second


def verdict(trust: Mapping[str, Any] | None) -> str:
    """The same in three words, by how far it is beyond chance."""
    if not trust or trust["keeps"] is None or trust["keeps_random"] is None:
        return "not tested"
    gain = trust["keeps"] - trust["keeps_random"]
    if trust["loses"] is not None and trust["loses_random"] is not None:
        gain = (gain + trust["loses"] - trust["loses_random"]) / 2
    for least, words in ((0.4, "far beyond chance"), (0.15, "beyond chance"), (0.03, "little beyond chance")):
        if gain >= least:
            return words
    return "no better than chance"


def kinds(examples: Sequence[Mapping[str, Any]]) -> list[str]:
    """The kinds of picture that at least one of the examples has, in the order of `KINDS`."""
    return [kind.name for kind in KINDS if any(example[kind.name]["url"] for example in examples)]


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

    A list of `{kind, trust, shuffled}`; `trust` as in the models, `shuffled` a list of `{randomised, similarity,
    measure, layers}` (similarity 1: the picture does not care about the weights).
    """
    kinds = list(dict.fromkeys([*(kind for layer in layers for kind in layer["trust"]), *(s["kind"] for s in sanity)]))
    found = []
    for kind in kinds:
        trusts = [layer["trust"].get(kind) for layer in layers]
        tested = [trust for trust in trusts if trust and trust["keeps"] is not None]
        trust = {
            part: middle(trust[part] for trust in tested)
            for part in ("keeps", "loses", "keeps_random", "loses_random", "score")
        }
        found.append(
            {
                "kind": kind,
                "trust": trust | {"n": len(tested)} if tested else None,
                "shuffled": _shuffled([row for row in sanity if row["kind"] == kind]),
            }
        )
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
    "pixels": pixels,
    "evidence": evidence,
    "verdict": verdict,
    "kinds": kinds,
    "scale": scale,
    "rectangle": rectangle,
    "largest_first": largest_first,
    "sanity_in_words": sanity_in_words,
}
"""For the templates' environment."""
