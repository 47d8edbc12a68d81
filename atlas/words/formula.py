"""Formulas over concepts: how they are written, and for which images they hold."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.arrays import Flags, Ints

NAMES = ("AND", "AND NOT", "OR")
OPERATIONS = len(NAMES)
Terms = NDArray[np.int32]
"""Formulas: each term is 3 * concept + operation, -1 where the formula is shorter; the first term's operation is 0."""
_OPERATOR = re.compile(r' (AND NOT|AND|OR) (?=(?:[^"]*"[^"]*")*[^"]*$)')  # outside quotes
_QUOTED = re.compile(r'"([^"]*)"\)*$')


@dataclass(frozen=True)
class Formula:
    """Concepts by number, and the operations between them, applied from left to right."""

    concepts: tuple[int, ...]
    operations: tuple[int, ...] = ()

    @classmethod
    def of(cls, terms: Terms) -> Formula:
        """From terms as the search writes them, -1 behind the last."""
        used = terms[terms >= 0].tolist()
        return cls(tuple(term // OPERATIONS for term in used), tuple(term % OPERATIONS for term in used[1:]))

    def __len__(self) -> int:
        return len(self.concepts)

    @property
    def prefix(self) -> Formula:
        """The formula without its last term."""
        return Formula(self.concepts[:-1], self.operations[:-1])

    def holds(self, flags: Flags) -> Flags:
        """For which images it holds: (images,), of concepts' flags (images, concepts)."""
        held = flags[:, self.concepts[0]].copy()
        for operation, concept in zip(self.operations, self.concepts[1:], strict=True):
            held = joined(operation, held, flags[:, concept])
        return held

    def text(self, names: Sequence[str]) -> str:
        """`dog AND NOT terrier`; parentheses where operations differ; names with an operator's word are quoted."""
        words = _quoted(names[self.concepts[0]])
        for number, (operation, concept) in enumerate(zip(self.operations, self.concepts[1:], strict=True)):
            if number and (operation == 2) != (self.operations[number - 1] == 2):
                words = f"({words})"
            words = f"{words} {NAMES[operation]} {_quoted(names[concept])}"
        return words

    def affirmed(self) -> Ints:
        """Concepts that it asks for: all but those behind AND NOT."""
        pairs = zip((0, *self.operations), self.concepts, strict=True)
        return np.array([concept for operation, concept in pairs if operation != 1], np.int64)


def affirmed(text: str) -> list[str]:
    """Names of the concepts that a written formula asks for: all but those behind AND NOT."""
    parts = _OPERATOR.split(text)
    found = []
    for operation, part in zip(["AND", *parts[1::2]], parts[::2], strict=True):
        if operation != "AND NOT":
            found.append(
                _QUOTED.sub(r"\1", part.lstrip("(").strip()) if part.lstrip("(").startswith('"') else _bare(part)
            )
    return found


def _bare(part: str) -> str:
    return part.strip().lstrip("(").rstrip(")").strip()


def joined(operation: int, a: Flags, b: Flags) -> Flags:
    """AND, AND NOT (1) or OR (2) of two rows of flags."""
    return a | b if operation == 2 else a & ~b if operation == 1 else a & b


def _quoted(name: str) -> str:
    name = name.replace('"', "'")
    return f'"{name}"' if {"AND", "OR", "NOT"} & set(name.split()) or set(name) & set("()") else name
