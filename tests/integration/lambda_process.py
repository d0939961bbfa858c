"""One Lambda environment in a process of its own, told over its standard input what to do.

`python -m tests.integration.lambda_process FUNCTION` reads lines of JSON and answers each on
standard error, since Powertools logs to standard output: `{"invoke": EVENT}`, and `{"hooks":
"before_snapshot"}` or `"after_restore"`, which does what Lambda's runtime does at that moment, and
`{}`, which tells how many objects are alive that have the settings and so the passwords.
"""

from __future__ import annotations

import gc
import importlib
import json
import sys
from typing import Any

import snapshot_restore_py

from shared.settings import Settings


class Context:
    """What the service asks of Lambda's context."""

    def get_remaining_time_in_millis(self) -> int:
        """Lambda's whole time-out is left."""
        return 29_000


def run_hooks(moment: str) -> str:
    """Run the registered hooks in the order of the runtime interface client; tell their number."""
    if moment == "before_snapshot":
        hooks = list(reversed(list(snapshot_restore_py.get_before_snapshot())))
    else:
        hooks = list(snapshot_restore_py.get_after_restore())
    for function, arguments, named in hooks:
        function(*arguments, **named)
    return f"{len(hooks)} ran"


def main() -> None:
    """Be the environment until the input ends."""
    module = importlib.import_module(f"functions.{sys.argv[1]}.handler")
    answer: Any = "ready"
    while True:
        print(json.dumps(answer), file=sys.stderr, flush=True)  # noqa: T201 - its answers
        line = sys.stdin.readline()
        if not line:
            return
        asked = json.loads(line)
        if "invoke" in asked:
            answer = module.handler(asked["invoke"], Context())
        elif "hooks" in asked:
            answer = run_hooks(asked["hooks"])
        else:
            answer = sum(isinstance(one, Settings) for one in gc.get_objects())


if __name__ == "__main__":
    main()
