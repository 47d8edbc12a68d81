"""Small values of the models: boxes, fields, evidence, pictures that are not there, paths cut to their last part."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from api import models
from atlas.types import PROJECTIONS

NO_EVIDENCE: dict[str, models.Evidence | None] = dict.fromkeys(PROJECTIONS)


@lru_cache(maxsize=1024)
def without(why: str | None) -> models.Picture:
    """A picture that is not there; the same value for the same reason, not to be changed."""
    return {"url": None, "why": why, "seed": None, "scale": None}


def mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def sources(values: dict[str, Any], *names: str) -> dict[str, Any]:
    """The values with the last parts of the paths among them."""
    return {name: shortened(value) if name in names else value for name, value in values.items()}


def shortened(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [shortened(each) for each in value]
    if isinstance(value, dict):
        return {name: shortened(each) for name, each in value.items()}
    return last_part(value) if isinstance(value, str) else value


def query(layer: str, channel: int) -> str:
    """The DuckDB query that gives a neuron's row."""
    name = layer.replace("'", "''")
    return f"SELECT * FROM neurons WHERE layer = '{name}' AND channel = {channel}"


def last_part(source: str) -> str:
    """The last part of a source's path: where it lay on the machine that built is nobody's business."""
    return source.rstrip("/").rpartition("/")[2] or source


def field(about: dict[str, Any]) -> models.ReceptiveField:
    return {
        "size": about["field_size"],
        "stride": about["field_stride"],
        "start": about["field_start"],
        "global_field": about["whole_input"],
    }


def box(edges: Any) -> models.Box:
    left, top, right, bottom = edges
    return {"left": left, "top": top, "right": right, "bottom": bottom}


def number(value: float) -> float | None:
    return value if value == value else None


def evidences(evidence: list[Any]) -> dict[str, models.Evidence | None]:
    if not any(evidence):
        return NO_EVIDENCE
    return {kind: each and one_evidence(each) for kind, each in zip(PROJECTIONS, evidence, strict=True)}


def one_evidence(measures: Any) -> models.Evidence:
    keeps, loses, keeps_random, loses_random = map(number, measures)
    return {"keeps": keeps, "loses": loses, "keeps_random": keeps_random, "loses_random": loses_random}


def trust(trust: Any) -> models.Trust | None:
    return None if trust is None else trust._asdict()
