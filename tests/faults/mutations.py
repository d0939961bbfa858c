"""Break what keeps a phone from ringing twice, and require that the mixed run says so.

    python -m tests.faults.mutations --version 22

Exit code 1: a broken service passed.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.faults.process import ROOT

# Few clicks, and the faults that leave a call executed and its answer lost.
CALLS, SEEDS = 40, (1, 2, 3, 4, 5, 6)
FAULTS = "replies lost,link cut,sshd sessions killed"


@dataclass(frozen=True)
class Mutation:
    """A change of the sources: in `file`, each text of `changes` for another.

    `faults` are those by which it is to be found.
    """

    name: str
    file: str
    changes: tuple[tuple[str, str], ...]
    faults: str = FAULTS

    def apply(self, tree: Path) -> None:
        """Make it.

        Raises:
            ValueError: a text is not there exactly once, so the mutation needs to be renewed.
        """
        path = tree / self.file
        text = path.read_text()
        for old, new in self.changes:
            if text.count(old) != 1:
                raise ValueError(f"{self.name}: {old!r} is not once in {self.file}")
            text = text.replace(old, new)
        path.write_text(text)


# Only what is found whatever the pace; of a shared exchange that breaks tests/unit/test_sharing.py
# tells, which fails by seven of its tests.
MUTATIONS = (
    Mutation(
        "a repeat is not looked for",
        "shared/calls/placing.py",
        (("    if admitted.repeated:\n", "    if False:\n"),),
    ),
    Mutation(
        "an unknown outcome is tried again",
        "shared/pbx/hosts.py",
        (
            ("            except NotExecuted as error:", "            except Exception as error:"),
            ("if not error.again or ", "if "),
        ),
    ),
    Mutation(
        "an unknown outcome releases its claim",
        "shared/calls/placing.py",
        (('"unknown": "unknown"}', '"unknown": "not_executed"}'),),
    ),
    Mutation(
        "a claim ends with its request, settled or not",
        "shared/auth/admission.py",
        (
            (
                "max(settings.unknown_hold_s, settings.repeat_window_s, settings.settled_within_s)",
                "0.5",
            ),
        ),
        faults="killed before it settled",
    ),
)


def is_caught(mutation: Mutation, version: str) -> bool:
    """Run the service with this mutation; tell whether a phone was found to ring twice."""
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        tree = Path(folder)
        for name in ("shared", "functions"):
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "asterisk.py", tree)
        mutation.apply(tree)
        for seed in SEEDS:
            code, text = _run(version, tree, seed, mutation.faults)
            found = [line.strip() for line in text.splitlines() if "VIOLATION" in line]
            rings = [line for line in found if line.endswith("times")]
            if code == 1 and rings:
                print(f"caught: {mutation.name}: {len(rings)} clicks rang twice, seed {seed}")
                print(f"  {rings[0]}", flush=True)
                return True
    print(f"NOT CAUGHT: {mutation.name}\n{text[-2000:]}", flush=True)
    return False


def _run(version: str, tree: Path, seed: int, faults: str) -> tuple[int, str]:
    options = ["--version", version, "--tree", str(tree), "--calls", str(CALLS)]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.faults.run", *options),
            *("--seed", str(seed), "--faults", faults),
        ],
        cwd=ROOT,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout


def main() -> int:
    """Try every mutation."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--version", choices=("16", "22"), required=True)
    version = parser.parse_args().version
    caught = [is_caught(mutation, version) for mutation in MUTATIONS]
    return 0 if all(caught) else 1


if __name__ == "__main__":
    sys.exit(main())
