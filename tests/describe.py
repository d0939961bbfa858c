"""Write down what the API says of itself.

python -m tests.describe            writes docs/openapi.json
python -m tests.describe --release  also keeps it as what a release has promised
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from fastapi.openapi.utils import get_openapi

import asterisk
from shared.description.document import describing

_ROOT = Path(__file__).parents[1]
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


def main() -> None:
    """Write it."""
    text = render(described())
    WRITTEN.write_text(text, "utf-8")
    if sys.argv[1:] == ["--release"]:
        RELEASED.write_text(render(_promised(described())), "utf-8")


if __name__ == "__main__":
    main()
