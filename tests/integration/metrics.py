"""What GET /metrics tells, as a monitoring system reads it."""

from __future__ import annotations

import httpx
from prometheus_client.parser import text_string_to_metric_families

from shared.measures import PREFIX
from tests.integration.service import LIMIT_S


class Numbers:
    """What one answer tells."""

    def __init__(self, text: str) -> None:
        families = list(text_string_to_metric_families(text))
        self.names = [family.name for family in families]
        self._samples = [sample for family in families for sample in family.samples]

    def __call__(self, name: str, **labels: str) -> float | None:
        """Tell the sum of the samples that have these labels; None: there is none."""
        return self.whole(PREFIX + name, **labels)

    def whole(self, name: str, **labels: str) -> float | None:
        """Tell likewise by a whole name."""
        found = [
            sample.value
            for sample in self._samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        return sum(found) if found else None

    def found(self, name: str) -> list[dict[str, str]]:
        """Collect the labels of each sample, by a whole name."""
        return [sample.labels for sample in self._samples if sample.name == name]

    def labels(self, name: str, label: str) -> set[str]:
        """Collect the values of a label."""
        return {s.labels[label] for s in self._samples if s.name == PREFIX + name}


async def read(url: str, **headers: str) -> Numbers:
    """Read a process's metrics, on a connection of its own."""
    async with httpx.AsyncClient(timeout=LIMIT_S) as http:
        answer = await http.get(f"{url}/metrics", headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return Numbers(answer.text)
