"""What a function's code reaches, by the imports that lead there."""

from __future__ import annotations

import ast
from functools import cache
from typing import NamedTuple

from tests.unit.test_layers import MODULES


class Reach(NamedTuple):
    """What a function connects to."""

    database: bool
    ssh: bool
    tracker: bool


@cache
def reach(folder: str) -> Reach:
    """Follow a handler's imports, those inside functions too."""
    seen: set[str] = set()
    unseen = {f"functions.{folder}.handler"}
    while unseen:
        name = unseen.pop()
        seen.add(name)
        unseen |= {imported for imported in MODULES[name].imports() if imported in MODULES} - seen
    return Reach(
        database="shared.database" in seen,
        ssh="shared.ssh.connection" in seen,
        tracker=any(_starts_tracker(MODULES[name].tree) for name in seen - {"shared.wake"}),
    )


def _starts_tracker(tree: ast.Module) -> bool:
    """Tell whether a module may invoke it: not where a tracker is known to be live."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            tracked = [ast.unparse(word.value) for word in node.keywords if word.arg == "tracked"]
            if node.func.id in {"wake_tracker", "invoke_tracker"} and tracked != ["True"]:
                return True
    return False


@cache
def counted() -> set[str]:
    """Names of the metrics that the code counts."""
    return {
        str(ast.literal_eval(node.args[0]))
        for module in MODULES.values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "count"
    }
