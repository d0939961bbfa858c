"""Write down what the service says of itself.

python -m tests.describe            writes docs/openapi.json, and the tables that the code has
python -m tests.describe --release  also keeps it as what a release has promised
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fastapi.openapi.utils import get_openapi

import asterisk
from shared.asterisk.models import PHASE_MEANINGS, REASON_MEANINGS
from shared.description.document import describing
from shared.description.problem import KINDS, OF_HTTP
from shared.errors import ServiceError
from shared.metrics.families import FAMILIES
from shared.operate import hostlines

_ROOT = Path(__file__).parents[1]
METRICS = _ROOT / "docs" / "metrics.md"
CHECK = _ROOT / "docs" / "check.md"
API = _ROOT / "docs" / "api.md"
# Where a code's page says more than a line can.
_SEE = {
    "destination-denied": "[Rules](security.md#rules)",
    "shared-host": "[Shared PBXs](security.md#shared-pbxs)",
    "too-many-open-calls": "[Tolls](security.md#tolls)",
    "ssh-host-key-changed": "[Host keys](security.md#host-keys)",
    "outcome-unknown": "[Late calls](operate.md#late-calls)",
}
WRITTEN = _ROOT / "docs" / "openapi.json"
RELEASED = Path(__file__).parent / "unit" / "openapi-released.json"


def described(root_path: str = "") -> dict[str, Any]:
    """Describe the service, whatever this process is configured with."""
    app = asterisk.app
    raw = get_openapi(title=app.title, version=app.version, routes=app.routes)
    document: dict[str, Any] = json.loads(json.dumps(describing(root_path)(raw)))
    return document


def render(document: dict[str, Any]) -> str:
    """Write it so that a change shows line by line."""
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def _promised(node: Any) -> Any:
    """Leave out what no program relies on: words and examples."""
    if isinstance(node, list):
        return [_promised(value) for value in node]
    if not isinstance(node, dict):
        return node
    words = {"summary", "description", "examples", "example", "tags"}
    return {
        name: _promised(value)
        for name, value in node.items()
        if name not in words or (isinstance(value, dict) and "type" in value)
    }


def families() -> Iterable[tuple[str, ...]]:
    """Give each family its line of docs/metrics.md."""
    for family in FAMILIES:
        labels = ", ".join(f"`{label}`" for label in family.labels)
        yield f"`{family.full_name}`", family.kind, labels, family.help, family.remedy


def meaning_of(kind: type[ServiceError]) -> str:
    """Tell what a code means: the first sentence of its class."""
    return (kind.__doc__ or "").splitlines()[0]


def remedies() -> Iterable[tuple[str, ...]]:
    """Give each error of a PBX that `check` has a remedy for its line of docs/check.md."""
    for kind, remedy in hostlines.REMEDIES.items():
        yield f"`{kind.code}`", meaning_of(kind), remedy


def codes() -> Iterable[tuple[str, ...]]:
    """Give each code its line of docs/api.md, by its status and then as the tree has it."""
    told = {code: (kind.status, meaning_of(kind)) for code, kind in KINDS.items()}
    told |= {code: (one.status, one.meaning) for code, one in OF_HTTP.items()}
    for code, (status, meaning) in sorted(told.items(), key=lambda one: one[1][0]):
        see = f" See {_SEE[code]}." if code in _SEE else ""
        yield f"`{code}`", str(status), meaning + see


def phases() -> Iterable[tuple[str, ...]]:
    """Give each phase its line of docs/api.md."""
    return ((f"`{phase}`", meaning) for phase, meaning in PHASE_MEANINGS.items())


def reasons() -> Iterable[tuple[str, ...]]:
    """Give each reason its line of docs/api.md."""
    return ((f"`{reason}`", meaning) for reason, meaning in REASON_MEANINGS.items())


TABLES = (
    (METRICS, "family", families),
    (CHECK, "code", remedies),
    (API, "code", codes),
    (API, "`phase`", phases),
    (API, "`reason`", reasons),
)


def rewrite(page: str, first: str, rows: Iterable[tuple[str, ...]]) -> str:
    """Give that table of a page whose first column is named `first` these rows."""
    lines = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    table = re.compile(rf"^(\| {first} \|.*\n\|[-|]+\n)(?:\|.*\n)+", re.MULTILINE)
    written, count = table.subn(lambda match: match[1] + lines, page)
    if count != 1:
        message = f"{count} tables begin with {first}"
        raise ValueError(message)
    return written


def main() -> None:
    """Write it."""
    for page, first, rows in TABLES:
        page.write_text(rewrite(page.read_text("utf-8"), first, rows()), "utf-8")
    text = render(described())
    WRITTEN.write_text(text, "utf-8")
    if sys.argv[1:] == ["--release"]:
        RELEASED.write_text(render(_promised(described())), "utf-8")


if __name__ == "__main__":
    main()
