"""What a function's code reaches, by the imports that lead there."""

from __future__ import annotations

import ast
from functools import cache
from typing import NamedTuple

from tests.unit.test_layers import MODULES


class Reach(NamedTuple):
    """What a function connects to.

    Of WebSockets: it puts events for them, keeps who they are, or pushes to them.
    """

    database: bool
    ssh: bool
    tracker: bool
    puts: bool
    keeps: bool
    pushes: bool


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
        database="shared.store.database" in seen,
        ssh="shared.ssh.connection" in seen,
        tracker=any(
            _starts_tracker(MODULES[name].tree) for name in seen - {"shared.following.wake"}
        ),
        puts="shared.push.relaying" in seen,
        keeps="shared.push.tables" in seen
        and not seen & {"shared.push.relaying", "shared.push.pushing"},
        pushes="shared.push.pushing" in seen,
    )


def _starts_tracker(tree: ast.Module) -> bool:
    """Tell whether a module may start it, by the two methods of the waker that do."""
    return any(
        isinstance(node, ast.Attribute) and node.attr in {"see_followed", "start_function"}
        for node in ast.walk(tree)
    )


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
