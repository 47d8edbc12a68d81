"""ImageNet and ResNet-50 on 1, 8 and 64 GPUs, by the model of `build --plan`: the table of deploy/imagenet.md.

    python -m bench.imagenet

No card was at hand: what a GPU does is assumed below, what a core does was measured on the machine of bench/RESULTS.md.
`build --plan` on a machine of the cluster measures both.
"""

from __future__ import annotations

import argparse

from jobs.forecast import Rates, Todo, distinct, forecast, moved_bytes, output_bytes
from jobs.predicted import size
from jobs.progress import duration

NEURONS, LAYERS, CLASSES, DIMENSIONS, IMAGES = 26_560, 70, 1000, 2048, 1_281_167
OWN, OTHER = 15, 8
"""CPUs a GPU that decode (`--decoders auto`): of its own node, beside the worker, and of the group `decode`."""
DECODE_SECONDS = 7.6e-3
"""Of a core an image: decoding and resizing (measured)."""
GPU_IMAGES = 2000.0
"""Images/s of ResNet-50 in bfloat16 with all statistics on a data-centre GPU (assumed)."""
GPU_EXAMPLES = 400.0
"""Examples/s of the harvest with three kinds of projection on such a GPU (assumed)."""

PIXELS = 3 * 224 * 224
"""Bytes of a decoded image."""

SCAN = min((OWN + OTHER) / DECODE_SECONDS, GPU_IMAGES)
RATES = Rates(
    together=1,
    scan=SCAN,
    harvest=GPU_EXAMPLES,
    decode_cpu=DECODE_SECONDS,
    network=1 / GPU_IMAGES,
    waiting=max(1 / SCAN - 1 / GPU_IMAGES, 0.0),
    storage=10_000.0,
    start=30.0,
    plan=60.0,
    fold=0.11,
    sanity=8.0,
    filters=1.0,
    core=1.0,
    hash=5e8,
    image_bytes=110e3,
    thumbnail_bytes=5e3,
    picture_bytes=36e3,  # as SqueezeNet's atlas of 1,000 photographs has an example
    partial_bytes=42e6,
    memory=12 * 10**9,
    driver_memory=4 * 10**9,
)
STRONGEST, SPREAD = 2 * 9 * NEURONS, 10 * NEURONS
TODO = Todo(
    images=IMAGES,
    left=IMAGES,
    chunk=1024,
    neurons=NEURONS,
    layers=LAYERS,
    classes=CLASSES,
    sample=4096,
    dimensions=DIMENSIONS,
    half_codes=True,
    examples=STRONGEST + SPREAD,
    harvest_images=distinct(IMAGES, STRONGEST, SPREAD, 4096),
)


SHARED = ("scan", "merge", "harvest", "sanity", "filters")
"""Stages whose chunks workers share."""


def table() -> str:
    """The table, as Markdown."""
    lines = [
        "| GPUs | scan | harvest | merge, sanity, filters | start, analyse, publish | all |"
        " GPU-hours of scan and harvest | read | written | moved between machines |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for gpus in (1, 8, 64):
        f = forecast(TODO, RATES, gpus)
        parallel = f.seconds["scan"] + f.seconds["harvest"]
        shared = sum(f.seconds[name] for name in SHARED)
        sizes = output_bytes(TODO, RATES)
        elsewhere = 1 - OWN / ((OWN + OTHER) * gpus)  # tasks are spread evenly over all CPUs
        moved = 40 * TODO.examples + elsewhere * PIXELS * IMAGES  # winners, and pixels decoded on another machine
        lines.append(
            f"| {gpus} | {duration(f.seconds['scan'])} | {duration(f.seconds['harvest'])} "
            f"| {duration(shared - parallel)} | {duration(f.total - shared)} | {duration(f.total)} "
            f"| {parallel * gpus / 3600:.1f} | {size(moved_bytes(TODO, RATES))} "
            f"| {size(sizes['all'] + sizes['partial'])} | {size(moved)} |"
        )
    return "\n".join(lines)


def main(words: list[str] | None = None) -> bool:
    """Prints the table; nothing is claimed."""
    argparse.ArgumentParser(description="ImageNet on 1, 8 and 64 GPUs, by the model of --plan.").parse_args(words)
    print(table())
    return True


if __name__ == "__main__":
    main()
