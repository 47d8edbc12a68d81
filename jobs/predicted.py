"""A forecast in words: a short text for people."""

from __future__ import annotations

from jobs.forecast import Forecast, moved_bytes, output_bytes
from jobs.progress import duration

MANY = (8, 64)
"""Numbers of workers that the text adds."""


def size(count: float) -> str:
    """Bytes as people say them."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError


def limit(forecast: Forecast) -> str:
    """What a worker's speed depends on: storage, decoding, or the network (with the transfer to its device)."""
    rates = forecast.rates
    each = rates.scan / rates.together
    if rates.storage < 1.5 * each:
        return "storage is the limit"
    if rates.waiting > 0.3 * rates.network:
        return "decoding is the limit"
    return "the network is the limit"


def text(forecast: Forecast) -> str:
    """The forecast as lines."""
    todo, rates, seconds = forecast.todo, forecast.rates, forecast.seconds
    sizes = output_bytes(todo, rates)
    workers = f"{forecast.workers} worker{'s' if forecast.workers > 1 else ''}"
    of = "" if todo.left == todo.images else f", {todo.left:,} of them still to be scanned"
    stages = " · ".join(f"{name} {duration(value)}" for name, value in seconds.items())
    lines = [
        f"to do      {todo.images:,} images{of} · {todo.layers} layers, {todo.neurons:,} neurons · "
        f"about {todo.examples:,} examples on {todo.harvest_images:,} images",
        f"measured   {rates.together} at once: {rates.scan / rates.together:,.1f} images/s a worker, "
        f"{rates.harvest / rates.together:,.0f} examples/s a worker",
        f"limit      {limit(forecast)}: a core decodes {1 / max(rates.decode_cpu, 1e-9):,.0f}/s, "
        f"a worker's network runs {1 / max(rates.network, 1e-9):,.0f}/s, a thread reads {rates.storage:,.0f}/s",
        f"time       {duration(forecast.total)} ({forecast.total / 3600:.2f} hours) with {workers}: {stages}",
        f"memory     {size(rates.memory)} a worker, {size(rates.driver_memory)} the driver",
        f"output     {size(sizes['all'])}: pictures {size(sizes['pictures'])}, thumbnails {size(sizes['thumbnails'])}, "
        f"codes {size(sizes['codes'])}, responses {size(sizes['responses'])}, state {size(sizes['state'])}; "
        f"until it is sealed {size(sizes['partial'])} more",
        f"read       {size(moved_bytes(todo, rates))}: each image once, each winner once more",
    ]
    for count in MANY:
        other = forecast.with_workers(count)
        parallel = other.seconds["scan"] + other.seconds["harvest"]
        lines.append(
            f"with {count:<6}{duration(other.total)} ({other.total / 3600:.2f} hours; {parallel * count / 3600:.2f} "
            "worker-hours of scan and harvest), if each has a machine like this to itself"
        )
    return "\n".join(lines)
