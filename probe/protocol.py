"""What the service and the probe share: limits, the questions, how they are written and how they are refused.

Torch-free. The probe answers under the very paths of the service, below `/api/v1/atlases/{atlas}`, and takes them only
with the secret, as `Authorization: Bearer`. What it says is JSON without addresses; the service adds those.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from atlas.errors import InputError

TOKEN = "NEURON_ATLAS_PROBE_TOKEN"
"""Environment variable of the secret between service and probe."""
LARGEST = 20 * 1024 * 1024
"""Bytes of an image file that is sent."""
QUEUE = 32
"""Questions that wait or are answered at once; one more is told to come again."""
RETRY_SECONDS = 1
PROBLEM = "application/problem+json"
"""Media type of every refusal of a probe; one without it is of what stands before the probe."""
OF = "neuron-atlas-of"
"""Header of a question: the `Identity` of the atlas that is asked about."""
K, MOST_K = 10, 100
MOST_ABLATED = 512
MOST_LAYERS = 1000
CLASSES = 5
"""Classes of a prediction."""
TO = ("zero", "mean")
MOST_SHUFFLE = 32
MASKED = ("silhouette", "texture")
EDITS = ("shuffle:N", "gray", "blur", *MASKED)
_SHUFFLE = re.compile(r"shuffle:([1-9][0-9]?)")


class Busy(Exception):  # noqa: N818  (a state, no failure)
    """The queue is full."""


class Identity(NamedTuple):
    """Which atlas is meant: its digest, and those of its network's source and weights."""

    atlas: str
    source: str
    weights: str

    def __str__(self) -> str:
        return "/".join(self)


def identity(about: Mapping[str, Any]) -> Identity:
    """The identity of an atlas, from `atlas.json`."""
    said = about.get("settings", {}).get("identity", {})
    return Identity(str(about.get("digest")), str(said.get("source_digest")), str(said.get("weights_digest")))


def difference(asked: str, loaded: Identity) -> str | None:
    """How the atlas that is asked about differs from the one that was loaded, naming both; None where it does not."""
    names = ("atlas", "network", "weights")
    parts = asked.split("/")
    if len(parts) != len(names):
        return f"{OF} {asked[:100]!r}: expected three digests"
    for name, theirs, mine in zip(names, parts, loaded, strict=True):
        if theirs != mine:
            return f"the probe has loaded another {name}: {mine[:12]}, and the service's is {theirs[:12]}"
    return None


EVIDENCE = "neuron-atlas-"
"""How the headers begin that say what a picture is worth."""
MOST_PLACES = 20
"""Images that are looked at for `places`."""
MOST_EDITED = 200
"""Images of the atlas whose accuracy is asked for at once."""


@dataclass(frozen=True)
class Asked:
    """What is asked of an image. `layers`: names, all without; `ablate`: neurons that are set to 0 or to their mean;
    `edit`: what is done to the image."""

    k: int = K
    layers: tuple[str, ...] = ()
    ablate: tuple[tuple[str, int], ...] = ()
    to: str = "zero"
    edit: str | None = None

    @property
    def changes(self) -> bool:
        """Whether a second prediction is asked for."""
        return bool(self.ablate) or self.edit is not None


def asked(values: Mapping[str, Any]) -> Asked:
    """The question in the values of a query: numbers may be texts. Raises `InputError`."""
    k = number("k", values.get("k", K), 1, MOST_K)
    layers = _list(values.get("layers"))
    if len(layers) > MOST_LAYERS:
        raise InputError(f"layers: {len(layers)} of them; expected at most {MOST_LAYERS}")
    to = str(values.get("to") or "zero")
    if to not in TO:
        raise InputError(f"to={to[:50]!r}: expected one of {', '.join(TO)}")
    edit = values.get("edit") or None
    if edit is not None:
        edit_of(str(edit))
    return Asked(k, layers, neurons(values.get("ablate")), to, edit)


def neurons(text: Any) -> tuple[tuple[str, int], ...]:
    """Neurons in `layer:channel,…`, each once. Raises `InputError`."""
    found: dict[tuple[str, int], None] = {}
    parts = _list(text)
    if len(parts) > MOST_ABLATED:
        raise InputError(f"ablate: {len(parts)} neurons; expected at most {MOST_ABLATED}")
    for each in parts:
        layer, _, channel = each.rpartition(":")
        if not layer:
            raise InputError(f"ablate {each[:50]!r}: expected layer:channel")
        found[layer, number("ablate", channel, 0, 2**31)] = None
    return tuple(found)


def edit_of(text: str) -> tuple[str, int]:
    """The name of an edit and, of `shuffle`, the cells of its grid a side. Raises `InputError`."""
    shuffled = _SHUFFLE.fullmatch(text)
    if shuffled is not None and 2 <= int(shuffled[1]) <= MOST_SHUFFLE:
        return "shuffle", int(shuffled[1])
    if text in EDITS and text != "shuffle:N":
        return text, 0
    raise InputError(f"edit={text[:50]!r}: expected one of {', '.join(EDITS)}, N from 2 to {MOST_SHUFFLE}")


def number(name: str, value: Any, low: int, high: int) -> int:
    """A whole number, or its digits. Raises `InputError`."""
    text = str(value)
    if not (text.lstrip("-").isascii() and text.lstrip("-").isdigit() and len(text) < 12 and low <= int(text) <= high):
        raise InputError(f"{name}={text[:50]!r}: expected a whole number from {low} to {high}")
    return int(text)


def _list(text: Any) -> tuple[str, ...]:
    return tuple(part for part in str(text or "").split(",") if part)
