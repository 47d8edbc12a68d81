"""`neuron-atlas add --list`: which parts there are, what each needs, and what it will take."""

from __future__ import annotations

from dataclasses import dataclass

from atlas.store import parts
from atlas.store.sealed import Sealed
from jobs import stages
from jobs.stages import Stage


@dataclass(frozen=True)
class Offered:
    """A part that there is, for `add --list`. `state`: of this atlas's one; `seconds`: what it will take, or took."""

    name: str
    about: str
    needs: tuple[str, ...]
    state: str
    seconds: float | None


def offered(location: str | None = None) -> list[Offered]:
    """Which parts there are; with an atlas what each will take here, from the atlas's own timings, and its state."""
    sealed = Sealed(location) if location else None
    return [_offer(stage, sealed) for stage in stages.parts()]


def _offer(stage: Stage, sealed: Sealed | None) -> Offered:
    if sealed is None:
        return Offered(stage.name, stage.about, stage.needs, "", None)
    from jobs.forecast import of_atlas

    names = [p for p in parts.listed(sealed.folder, sealed.digest) if p.part == stage.name]
    state = ", ".join(f"{p.state}" if p.name == stage.name else f"{p.name}: {p.state}" for p in names)
    took = names[0].about.get("timings", {}).get(stage.name) if names else None
    if took is None:
        try:
            chosen = stage.options_class()()
        except TypeError:  # it must be told something: what it takes depends on that
            return Offered(stage.name, stage.about, stage.needs, state, None)
        todo, rates, workers = of_atlas(sealed.about, chosen)
        took = stage.load().seconds(todo, rates, workers)
    return Offered(stage.name, stage.about, stage.needs, state, took)
