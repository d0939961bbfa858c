"""The artifact: what `sam build` makes of functions/ and shared/, module by module.

SAM copies each ContentUri aside and calls make there. So does `build`, which thereby needs no SAM;
`.aws-sam/build` of a real `sam build` has the same layout.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.emulator.runtime import ROOT, Interpreter

LAYER = "SharedLayer"


@dataclass(frozen=True)
class Artifact:
    """A folder with one folder for each logical id."""

    folder: Path

    @property
    def layer(self) -> Path:
        """What Lambda unpacks to /opt/python."""
        return self.folder / LAYER / "python"

    @property
    def tag(self) -> str:
        """What its bytecode is for, e.g. `cpython-313`."""
        (compiled,) = (self.layer / "shared" / "__pycache__").glob("settings.*.pyc")
        return compiled.name.split(".")[1]

    def function(self, name: str) -> Path:
        """What Lambda unpacks to /var/task."""
        return self.folder / logical_id(ROOT / "functions" / name)

    def python_path(self, name: str) -> str:
        """Where Lambda's runtime looks for modules before its own: the task, then the layer."""
        return f"{self.function(name)}:{self.layer}"


def function_names() -> list[str]:
    """List the functions there are."""
    return sorted(path.parent.name for path in (ROOT / "functions").glob("*/handler.py"))


def logical_id(content: Path) -> str:
    """Return what the template calls this folder's resource: its Makefile makes that alone."""
    (found,) = set(re.findall(r"^build-(\w+):", (content / "Makefile").read_text(), re.MULTILINE))
    return str(found)


def build(folder: Path, interpreter: Interpreter) -> Artifact:
    """Build every function and the layer into a folder, from copies, as SAM does."""
    contents = [ROOT / "functions" / name for name in function_names()]
    for content in [*contents, ROOT / "shared"]:
        scratch = folder / "scratch" / content.name
        shutil.copytree(content, scratch, ignore=shutil.ignore_patterns("__pycache__"))
        _make(scratch, folder / "build", interpreter)
    return Artifact(folder / "build")


def _make(scratch: Path, output: Path, interpreter: Interpreter) -> None:
    target = logical_id(scratch)
    artifacts = output / target
    artifacts.mkdir(parents=True)
    own = {
        "ARTIFACTS_DIR": artifacts,
        "PYTHON_VERSION": interpreter.version,
        "PYTHON": interpreter.path,
    }
    done = subprocess.run(
        ["make", f"build-{target}", *(f"{name}={value}" for name, value in own.items())],
        cwd=scratch,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"make build-{target}: {done.stdout}{done.stderr}")
