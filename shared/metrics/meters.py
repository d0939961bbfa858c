"""The families' numbers: this process's, and of all that share its folder. Knows prometheus_client.

Imported once the process knows whether it shares a folder: the library reads that at its import.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import Metric as Collected
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from shared.measures import MEASURED, Family, Measure, Metric
from shared.metrics.families import KNOWN, SHOWN, State
from shared.telemetry import LOG


def _make(
    family: Family, registry: CollectorRegistry, known: Iterable[str] = ()
) -> Counter | Gauge | Histogram:
    names = (family.full_name, family.help, family.labels)
    match family.kind:
        case "counter":
            made: Counter | Gauge | Histogram = Counter(*names, registry=registry)
        case "gauge":
            made = Gauge(*names, registry=registry, multiprocess_mode="liveall")
        case "histogram":
            made = Histogram(*names, registry=registry, buckets=family.buckets)
    for value in known or family.known:
        made.labels(value)
    return made


class Meters:
    """Counts what is observed, shows what it is given; with a folder its others' too."""

    def __init__(self, folder: Path | None) -> None:
        self._own = CollectorRegistry()
        self._measured = {
            name: _make(family, self._own, KNOWN.get(name, ())) for name, family in MEASURED.items()
        }
        self._shown = {name: _make(family, self._own) for name, family in SHOWN.items()}
        self._is_shown: set[tuple[State, tuple[str, ...]]] = set()
        self._is_broken = False
        self._all = CollectorRegistry()
        source = _of_all(folder) if folder else self._own
        self._all.register(_Merged(source))

    def observe(self, name: Metric | Measure, value: float, labels: dict[str, str]) -> None:
        """Take a measure down, by any thread; a defect here is logged once, and breaks nothing."""
        try:
            metric = self._measured[name]
            metric = metric.labels(**labels) if labels else metric
            if isinstance(metric, Histogram):
                metric.observe(value)
            else:
                metric.inc(value)
        except Exception:  # noqa: BLE001 - told once: a call may have been placed
            if not self._is_broken:
                self._is_broken = True
                LOG.exception("❌ Метрика %s не записана", name)

    def show(self, states: Iterable[tuple[State, float, tuple[str, ...]]]) -> None:
        """Have these gauges, and no other: of a host that is gone nothing is told any more."""
        now_shown = set()
        for name, value, labels in states:
            now_shown.add((name, labels))
            self._set(name, labels, value)
        # The library cannot remove what processes share; what is no number is not told of.
        for name, labels in self._is_shown - now_shown:
            self._set(name, labels, math.nan)
        self._is_shown = now_shown

    def _set(self, name: State, labels: tuple[str, ...], value: float) -> None:
        gauge = self._shown[name]
        gauge = gauge.labels(*labels) if labels else gauge
        assert isinstance(gauge, Gauge)  # noqa: S101 - what is shown are gauges
        gauge.set(value)

    def text(self) -> bytes:
        """Write all families in Prometheus' text format; reads files."""
        try:
            return generate_latest(self._all)
        except FileNotFoundError:  # whoever was started for one that died took its file just now
            return generate_latest(self._all)


def _of_all(folder: Path) -> MultiProcessCollector:
    return MultiProcessCollector(None, str(folder))  # type: ignore[no-untyped-call] # the library's


class _Merged(Collector):
    """Every family, whoever has it; gauges of several processes made one."""

    def __init__(
        self,
        source: CollectorRegistry | MultiProcessCollector,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._clock = clock

    def collect(self) -> Iterator[Collected]:
        """Yield them in the order of the table."""
        found = {metric.name: metric.samples for metric in self._source.collect()}
        for family in (*SHOWN.values(), *MEASURED.values()):
            name = family.full_name.removesuffix("_total")
            metric = Collected(name, family.help, family.kind)
            samples = found.get(name, [])
            if family.kind == "gauge":
                samples = list(_merged(family, samples, self._clock()))
            metric.samples = [one for one in samples if not one.name.endswith("_created")]
            yield metric


def _merged(family: Family, samples: Iterable[Sample], now: float) -> Iterator[Sample]:
    values = defaultdict(list)
    for sample in samples:
        if not math.isnan(sample.value):
            values[tuple(sample.labels[label] for label in family.labels)].append(sample.value)
    for labels, each in sorted(values.items()):
        match family.merging:
            case "sum":
                value = sum(each)
            case "max":
                value = max(each)
            case "age":  # the clock is the machine's, and so every process's
                value = max(0.0, now - max(each))
        yield Sample(family.full_name, dict(zip(family.labels, labels, strict=True)), value)
