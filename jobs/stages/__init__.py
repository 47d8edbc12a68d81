"""The stages of a job, in their order: the one list from which build, worker, progress and `--plan` follow.

To add a stage, write its file and name it here. Its module has four functions (`StageModule` says what they get):

    chunks(job)                   what there is to do, cut so that it does not depend on who does it
    work(worker, chunk, given)    does one chunk and commits it; runs on a worker
    finish(job)                   runs on the driver once all chunks are there
    seconds(todo, rates, workers) how long that will take

A stage that is the driver's alone (`parallel=False`) has only the last two. Optional: `words(reports)`, a few words for
the progress line from what the chunks of this run reported; of a part `replay(worker, count)`, `count` of its rows made
again from the originals, as `jobs.replay.Replayed`; `named(options)`, the AS of a part that has none given;
`check(sealed, options)`, which raises `InputError` before anything is written.

Nothing here loads torch, Ray or numpy: `help` lists the stages.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

from atlas.errors import SettingsError

if TYPE_CHECKING:
    from jobs.forecast import Rates, Todo
    from jobs.job import Chunk, Job
    from jobs.work import Work


class StageModule(Protocol):
    """What the module of a stage has."""

    def chunks(self, job: Job) -> Sequence[Chunk]: ...

    def work(self, worker: Work, chunk: int, given: Any) -> Any: ...

    def finish(self, job: Job) -> None: ...

    def seconds(self, todo: Todo, rates: Rates, workers: int) -> float: ...


@dataclass(frozen=True)
class Stage:
    """A stage. `module`: where its functions are. `noun`: what the sizes of its chunks count, for the progress line.

    `parallel`: it has work for workers; the others are the driver's alone. `part`: it makes the part of its name from a
    sealed atlas. Then `needs` says what of "network", "images" and "classes" (that the network
    answers with classes) it must have, and which other parts; `options` names
    the frozen dataclass of its options, `module:Class`; `several`: it may be made more than once, as NAME@AS;
    `version` grows when its results change.
    """

    name: str
    about: str
    module: str
    noun: str = "chunks"
    parallel: bool = True
    part: bool = False
    needs: tuple[str, ...] = ()
    options: str | None = None
    several: bool = False
    version: int = 1

    def options_class(self) -> type[Any]:
        """The class of its options; torch-free."""
        module, _, name = (self.options or "jobs.stages:NoOptions").partition(":")
        return cast("type[Any]", getattr(importlib.import_module(module), name))

    def load(self) -> StageModule:
        """The module of the stage; loads what it needs."""
        return cast("StageModule", importlib.import_module(self.module))


STAGES: tuple[Stage, ...] = (
    Stage("scan", "each image through the network once", "jobs.stages.scan", "images"),
    Stage("merge", "the chunks' results, folded in their order", "jobs.stages.merge", "neurons"),
    Stage(
        "harvest", "winners' images once more: positions, crops, pictures, evidence", "jobs.stages.harvest", "examples"
    ),
    Stage("sanity", "whether the pictures depend on the weights", "jobs.stages.sanity", "layers"),
    Stage("filters", "what kernels look like", "jobs.stages.filters", "layers"),
    Stage("analyse", "index, map, similar neurons, near misses, properties", "jobs.stages.analyse", parallel=False),
    Stage("publish", "the last tables, atlas.json, and the seal", "jobs.stages.publish", parallel=False),
    Stage(
        "occlusion", "where a grey square that hides makes the response fall", "jobs.stages.occlusion", "examples",
        part=True, needs=("network", "images"), options="atlas.harvest.settings:OcclusionOptions",
    ),
    Stage(
        "words", "words for neurons: formulas over concepts, held out, against chance", "jobs.stages.words", "searches",
        part=True, options="atlas.words.settings:WordsSettings",
    ),
    Stage(
        "connections", "which neurons feed each neuron, and what their removal takes", "jobs.stages.connections",
        "examples", part=True, needs=("network", "images"), options="atlas.connections.settings:ConnectionSettings",
    ),
    Stage(
        "localization", "where in each image its class is, beside boxes without a network", "jobs.stages.localization",
        "images", part=True, needs=("network", "images", "classes"),
        options="atlas.localize.settings:LocalizationSettings",
    ),
    Stage(
        "visualizations", "pictures made to drive neurons and classes", "jobs.stages.visualizations", "neurons",
        part=True, needs=("network", "images"), options="atlas.visualize.settings:VisualizationSettings",
    ),
    Stage(
        "inversions", "images made again from what layers keep of them", "jobs.stages.inversions", "images",
        part=True, needs=("network", "images"), options="atlas.invert.settings:InversionSettings",
    ),
    Stage(
        "adversarial", "what fools the network, and how little it needs", "jobs.stages.adversarial", "pictures",
        part=True, needs=("network", "images", "classes"), options="atlas.adversarial.settings:AdversarialSettings",
    ),
    Stage(
        "compare", "this atlas beside another one, or a table of answers, over shared images", "jobs.stages.compare",
        "steps", part=True, options="atlas.compare.settings:CompareSettings", several=True,
    ),
    Stage(
        "attributes", "accuracy and loss as a function of what images are like", "jobs.stages.attributes", "tables",
        part=True, needs=("classes",), options="atlas.attributes.settings:AttributesSettings",
    ),
)  # fmt: skip
"""The stages of `build`, in their order, and after them the parts."""


@dataclass(frozen=True)
class NoOptions:
    """The options of a part that has none."""


def of_build() -> tuple[Stage, ...]:
    """The stages of `build`."""
    return tuple(stage for stage in STAGES if not stage.part)


def parts() -> tuple[Stage, ...]:
    """The stages that make a part."""
    return tuple(stage for stage in STAGES if stage.part)


def named(name: str) -> Stage:
    """The stage of that name."""
    return next(stage for stage in STAGES if stage.name == name)


def part(name: str) -> Stage:
    """The stage that makes a part. Raises `SettingsError` for a name that is none."""
    found = [stage for stage in parts() if stage.name == name]
    if not found:
        there = ", ".join(stage.name for stage in parts()) or "none"
        raise SettingsError(f"part {name!r}: unknown; expected one of {there}")
    return found[0]
