"""Charts as plain numbers for SVG attributes; no style, no script. Coordinates are in the chart's own units."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH, HEIGHT = 320, 100
BARS = 64


def histogram(neuron: Mapping[str, Any]) -> dict[str, Any] | None:
    """The histogram of a neuron's responses: `{path, ticks, quantiles, low, high, zero}`; null without bins.

    Bars hold the share of images by square root, so that the few strongest stay visible. `ticks` are where the
    strongest, the weakest and the spread examples stand, as one path; `quantiles` are `(x, name, value)`.
    """
    bins = neuron["histogram"]
    if not bins:
        return None
    low, high = bins[0]["left"], bins[-1]["right"]
    if not high > low:
        return None
    scale = WIDTH / (high - low)
    bars = _bars(bins, low, (high - low) / BARS)
    tallest = max(bars) or 1.0
    step = WIDTH / BARS
    parts = [
        f"M{index * step:.1f} {HEIGHT}v{-HEIGHT * (bar / tallest) ** 0.5:.1f}h{step - 1:.1f}V{HEIGHT}z"
        for index, bar in enumerate(bars)
        if bar
    ]
    quantiles = [
        (round(_within((value - low) * scale), 1), f"{int(key[1:])}\u202f%", value)
        for key, value in neuron["quantiles"].items()
        if value is not None and key in ("p05", "p50", "p95")
    ]
    ticks = "".join(
        f"M{_within((example['response'] - low) * scale):.1f} {HEIGHT + 2}v9"
        for side in ("max", "spread")
        for example in neuron["examples"][side]
    )
    zero = (0 - low) * scale if low < 0 < high else None
    return {
        "path": "".join(parts),
        "ticks": ticks,
        "quantiles": quantiles,
        "labels": _labels(quantiles),
        "low": low,
        "high": high,
        "zero": zero,
    }


def _labels(quantiles: Sequence[tuple[float, str, float]]) -> list[tuple[float, str, str]]:
    """Names of quantiles as `(x, name, anchor)`; one that would stand on the one before it is left out."""
    labels: list[tuple[float, str, str]] = []
    for x, word, _ in quantiles:
        if not labels or x - labels[-1][0] > 30:
            labels.append((x, word, "start" if x < 20 else "end" if x > WIDTH - 20 else "middle"))
    return labels


def _within(x: float) -> float:
    return min(max(x, 0.0), float(WIDTH))


def _bars(bins: Sequence[Mapping[str, Any]], low: float, width: float) -> list[float]:
    """Counts of the bins shared out among equal bars, each bin evenly over its span."""
    bars = [0.0] * BARS
    for each in bins:
        first = (each["left"] - low) / width
        last = (each["right"] - low) / width
        start, stop = int(first), min(int(last), BARS - 1)
        if start >= stop:
            bars[min(start, BARS - 1)] += each["count"]
            continue
        share = each["count"] / (last - first)
        for index in range(start, stop + 1):
            bars[index] += share * (min(last, index + 1) - max(first, index))
    return bars


def field_scale(field: Mapping[str, Any], crop: int) -> dict[str, float]:
    """The field of the map's middle drawn to scale in the network's input, on a square of 100: x, y, width, height.

    A field larger than the input is drawn as the input.
    """
    if field["global_field"] and not field["gated"]:
        return {"x": 0.0, "y": 0.0, "width": 100.0, "height": 100.0}
    width = min(100.0, 100 * field["size"]["x"] / crop)
    height = min(100.0, 100 * field["size"]["y"] / crop)
    return {"x": (100 - width) / 2, "y": (100 - height) / 2, "width": width, "height": height}


def curve(bins: Sequence[Mapping[str, Any]], low: float, high: float) -> dict[str, Any]:
    """Accuracy bin by bin, on an axis of `low` to `high`: `{points, line, within, people}`.

    `points`: (x, y, y of the interval's lower end, of its upper end) a bin; `line`, `within` (had every bin the same
    mix of classes) and `people`: paths, empty where there is nothing.
    """
    step = WIDTH / max(len(bins), 1)

    def at(share: float) -> float:
        return round(HEIGHT * (1 - (share - low) / (high - low)), 1)

    def path(name: str) -> str:
        found: list[str] = []
        for index, each in enumerate(bins):
            if each[name] is not None:
                found.append(f"{'L' if found else 'M'}{(index + 0.5) * step:.1f} {_between(at(each[name]))}")
        return "".join(found)

    points = [
        (round((index + 0.5) * step, 1), at(each["top1"]), at(each["top1_low"]), at(each["top1_high"]))
        for index, each in enumerate(bins)
    ]
    return {"points": points, "line": path("top1"), "within": path("top1_within_class"), "people": path("human_top1")}


def _between(y: float) -> float:
    """Within the drawing: an accuracy within class is an estimate, and may leave 0 to 1."""
    return min(max(y, -4.0), HEIGHT + 4.0)


def shared_axis(curves: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """One axis of accuracy for several curves, so that they compare: all of their intervals, out to whole tenths."""
    bins = [each for curve in curves for each in curve["bins"]]
    low = min((each["top1_low"] for each in bins), default=0.0)
    high = max((each["top1_high"] for each in bins), default=1.0)
    return max(math.floor(10 * low) / 10, 0.0), min(math.ceil(10 * high) / 10, 1.0)
