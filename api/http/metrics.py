"""What Prometheus reads at /metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class Metrics:
    """Counters of one service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "neuron_atlas_requests", "Answered requests", ["route", "method", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "neuron_atlas_request_seconds", "Time to answer", ["route"], buckets=_BUCKETS, registry=self.registry
        )
        self._bytes = Counter("neuron_atlas_response_bytes", "Bytes of bodies", ["route"], registry=self.registry)
        self.in_flight = Gauge("neuron_atlas_requests_in_flight", "Requests being answered", registry=self.registry)
        self.available = Gauge("neuron_atlas_atlases_available", "Atlases that are served", registry=self.registry)
        self.unavailable = Gauge("neuron_atlas_atlases_unavailable", "Atlases that are not", registry=self.registry)
        self._counters: dict[tuple[str, str, int], Counter] = {}
        self._timers: dict[str, tuple[Histogram, Counter]] = {}

    def count(self, route: str, method: str, status: int, seconds: float, size: int) -> None:
        """Takes in one answered request."""
        key = (route, method, status)
        counter = self._counters.get(key)
        if counter is None:
            counter = self._counters[key] = self._requests.labels(route, method, str(status))
        timers = self._timers.get(route)
        if timers is None:
            timers = self._timers[route] = (self._seconds.labels(route), self._bytes.labels(route))
        counter.inc()
        timers[0].observe(seconds)
        timers[1].inc(size)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)
