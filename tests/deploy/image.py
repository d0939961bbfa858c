"""A Dockerfile's steps, run in a chroot: no container engine is where the tests run.

For the base image a minimal Debian stands (`base.sh`); every other word is the Dockerfile's own.
What is run has mounts and processes of its own, which end with it.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

# As in the image.
_PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
# A container's life: its command, in a network of its own, until it says that it is well; its end.
_LIFE = """
ip link set lo up
{command} &
child=$!
until {health} >/dev/null 2>&1; do
  kill -0 $child || exit 1
  sleep 0.2
done
kill -TERM $child
wait $child || [ $? = 143 ]
"""
_STEP_S = 600


@dataclass
class Stage:
    """What a FROM begins: a folder, and what the steps in it have said so far."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: str = "0"
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)

    def run(self, *command: str, **more: str) -> str:
        """Run a command in there with `more` variables; what it printed. It must succeed."""
        return self._isolated(f"exec {self._chrooted(command, more)}")

    def live(self) -> str:
        """Run its own command until it is healthy, end it, and tell what it printed."""
        life = _LIFE.format(
            command=self._chrooted(self.command), health=self._chrooted(self.health)
        )
        return self._isolated(life, "--net")

    def inside(self, path: str) -> Path:
        """Tell where a path of the image is on this machine."""
        return self.root / (Path(self.folder) / path).relative_to("/")

    def _chrooted(self, command: tuple[str, ...] | list[str], more: Mapping[str, str] = {}) -> str:
        variables = {"PATH": _PATH, "HOME": "/root", **self.environment, **more}
        pairs = [f"{name}={value}" for name, value in variables.items()]
        there = [
            "chroot",
            f"--userspec={self.user}",
            str(self.root),
            "env",
            "-i",
            "-C",
            self.folder,
        ]
        return shlex.join([*there, *pairs, *command])

    def _isolated(self, script: str, *spaces: str) -> str:
        mount = f"mount -t proc proc {shlex.quote(str(self.root / 'proc'))}"
        unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", *spaces]
        done = subprocess.run(
            [*unshare, "sh", "-c", f"{mount}\n{script}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_STEP_S,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}"
        return done.stdout


class Build:
    """Builds a Dockerfile of a context's files; `base` stands for every image of others."""

    def __init__(self, context: Path, base: Path, into: Path, **arguments: str) -> None:
        self._context, self._base, self._into = context, base, into
        self._given = arguments
        self.named: dict[str, Stage] = {}
        self.began_from: list[str] = []
        self.stage = Stage(into)

    def build(self, dockerfile: Path) -> Stage:
        """Run its steps, one after the other; the last stage. A word that is not known fails."""
        for word, rest in instructions(dockerfile.read_text("utf-8")):
            getattr(self, f"_{word.lower()}")(rest)
        return self.stage

    def _from(self, rest: str) -> None:
        image, _, name = rest.partition(" AS ")
        self.began_from.append(image)
        root = self._into / str(len(self.began_from))
        if image == "scratch":
            root.mkdir(parents=True)
        else:
            root.parent.mkdir(parents=True, exist_ok=True)
            # shutil would follow neither devices nor owners.
            subprocess.run(["cp", "-a", self._base, root], check=True)
        # How this machine reaches the index of packages, as an engine is told by --build-arg.
        index = re.compile(r"PIP_|[a-z]+_proxy$", re.IGNORECASE)
        self._passed = {name: v for name, v in os.environ.items() if index.match(name)}
        self.stage = self.named[name or image] = Stage(root)

    def _arg(self, rest: str) -> None:
        name, _, default = rest.partition("=")
        self._passed[name] = self._given.get(name, default)

    def _env(self, rest: str) -> None:
        for pair in shlex.split(rest):
            name, _, value = pair.partition("=")
            self.stage.environment[name] = value

    def _workdir(self, rest: str) -> None:
        self.stage.folder = rest
        self.stage.inside("").mkdir(parents=True, exist_ok=True)

    def _user(self, rest: str) -> None:
        self.stage.user = rest

    def _run(self, rest: str) -> None:
        self.stage.run("/bin/sh", "-c", rest, **self._passed)

    def _copy(self, rest: str) -> None:
        *options, source, target = rest.split()
        begin = self._context
        if options:
            (option,) = options
            begin = self.named[option.removeprefix("--from=")].root
        found, to = begin / source.lstrip("/"), self.stage.inside(target)
        if found.is_dir():  # what is in it, not the folder
            ignored = shutil.ignore_patterns(*([] if options else ["__pycache__"]))
            shutil.copytree(found, to, ignore=ignored, dirs_exist_ok=True, symlinks=True)
        else:
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(found, to)

    def _cmd(self, rest: str) -> None:
        self.stage.command = json.loads(rest)

    def _healthcheck(self, rest: str) -> None:
        self.stage.health = json.loads(rest.partition(" CMD ")[2])


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Yield each step of a Dockerfile: its word, and what follows it, on one line."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for line in lines.replace("\\\n", "").splitlines():
        if line.strip():
            word, _, rest = line.partition(" ")
            yield word, rest.strip()
