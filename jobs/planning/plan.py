"""A job, ready to be run. The plan is what workers get: plain, picklable, the same on every machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from atlas.arrays import Flags
from atlas.images.manifest import Manifest
from atlas.network.chosen import chosen
from atlas.settings import PLACES, Settings
from jobs.planning.data import DataPlan, plan_data
from jobs.planning.network import NetworkPlan, plan_network
from jobs.planning.part import PartPlan


@dataclass(frozen=True)
class Plan:
    """What is asked for, of which network, over which images. `settings.chunk_size` is a number by now."""

    settings: Settings
    found_network: NetworkPlan | None
    found_data: DataPlan | None
    batch_asked: int | None = None
    """The batch that was asked for, where the device's memory was too small for it and nothing was committed yet."""
    part: PartPlan | None = None
    """The part that is made; None for a build. A part may need no network, or no images."""

    @property
    def network(self) -> NetworkPlan:
        assert self.found_network is not None, "a stage whose `needs` name no network asks for it"
        return self.found_network

    @property
    def data(self) -> DataPlan:
        assert self.found_data is not None, "a stage whose `needs` name no images asks for them"
        return self.found_data

    @property
    def asked(self) -> Flags:
        """Which neurons, counted over all layers, may have examples."""
        return chosen(self.network.layers, self.settings.neurons_a_layer, self.settings.seed)

    def asked_of(self, number: int) -> Flags:
        """Which channels of layer `number` may have examples."""
        return chosen([self.network.layers[number]], self.settings.neurons_a_layer, self.settings.seed)

    def identity(self) -> dict[str, Any]:
        """What makes two jobs the same one: everything its contents depend on, as plain JSON values."""
        if self.part is not None:
            return self.part.identity()
        kept = self.settings.identity()
        preprocessing = asdict(self.network.preprocessing)
        for name in (*PLACES, *preprocessing):
            kept.pop(name, None)
        kept |= {f"preprocessing_{k}": v for k, v in preprocessing.items()}
        if self.batch_asked:
            kept["batch_asked"] = self.batch_asked
        kept |= {"manifest": self.data.digest, "count": self.data.count, **self.network.about}
        return dict(json.loads(json.dumps(kept)))


def make_plan(settings: Settings) -> tuple[Plan, Manifest]:
    """Loads the network, finds its layers, lists the images. Raises `InputError`; writes nothing."""
    network = plan_network(settings)
    data, manifest = plan_data(settings, network.labels)
    said = (*manifest.notes, *_other_count(network.outputs, data.classes))
    manifest = replace(manifest, notes=said)
    return Plan(replace(settings, chunk_size=str(data.chunk)), network, data), manifest


def _other_count(outputs: int | None, classes: Sequence[str]) -> list[str]:
    """What is to be said where a network has another number of classes than the images."""
    if outputs is None or not classes or len(classes) == outputs:
        return []
    return [
        f"the network has {outputs:,} classes, the images {len(classes):,}: class number n of the images is taken for "
        "the network's output n; if that is not so, give --class-names FILE.tsv in the network's order, or --no-classes"
    ]


def with_batch(plan: Plan, batch: int) -> Plan:
    """The plan with another batch than was asked for."""
    asked = plan.batch_asked or plan.settings.batch_size
    return replace(plan, settings=replace(plan.settings, batch_size=batch), batch_asked=asked)
