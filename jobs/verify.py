"""`neuron-atlas verify`: what the folder says of itself, and N examples run again from the original files."""

from __future__ import annotations

from atlas.read.audit import audit


def verify(location: str, replay: int) -> int:
    """Prints what was checked. Gives 0 where all is well, 1 where something is wrong."""
    report = audit(location)
    print(report)
    if not report.ok or not replay:
        return 0 if report.ok else 1
    from jobs.replay import replay as run_again

    result = run_again(location, replay)
    print(result)
    return 0 if result.ok else 1
