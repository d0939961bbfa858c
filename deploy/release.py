"""The deployment to AWS, for deploy/deploy.

SAM publishes a new version of a function when the template's text of it differs. Neither the layer,
which has all logic, nor a parameter's value is in that text: a second deployment would leave the
alias at the old code. So each deployment is a release, named by a hash of all that it is made of,
and the template gives that name to every function.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# What is deployed; the parameters' values are the rest of it.
_SOURCES = ("shared", "functions", "template.yaml")
_HEX_DIGITS = 16
_ENVIRONMENTS = {"dev": "default", "prod": "prod"}  # as samconfig.toml calls them
_HELP = """Builds and deploys an environment of samconfig.toml.

Every parameter is passed with its value: the default of template.yaml, over it what samconfig.toml
has, over it NAME=VALUE of this command, which therefore holds for this one deployment: the next one
without it takes it back. To roll back, check the earlier commit out and do the same.
prod is deployed from committed files only, and SAM shows the changes and asks first."""


class Refused(Exception):
    """Why nothing is deployed."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """What will be done: `changed` has the parameters that are not template.yaml's defaults.

    `architecture` is what the layer is built for.
    """

    release: str
    architecture: str
    changed: Mapping[str, str]
    commands: tuple[tuple[str, ...], ...]


def defaults(template: str) -> dict[str, str | None]:
    """Read template.yaml's parameters, each with its default; None where it has none."""
    # Python has no parser of YAML; a test holds these two levels of plain text to what one reads.
    section = re.split(r"^(?=\S)", template.partition("\nParameters:\n")[2], flags=re.MULTILINE)[0]
    found: dict[str, str | None] = {}
    for block in re.split(r"^  (?=\w+:$)", section, flags=re.MULTILINE)[1:]:
        default = re.search(r'^    Default: ("?)(.*)\1$', block, re.MULTILINE)
        found[block.partition(":")[0]] = default[2] if default else None
    return found


def effective(root: Path, config: str, overrides: Mapping[str, str]) -> dict[str, str]:
    """Tell the value of every parameter but the release's own.

    Raises:
        Refused: one has no value, or template.yaml knows none of that name.
    """
    known = defaults((root / "template.yaml").read_text("utf-8"))
    known.pop("Release", None)
    configured = tomllib.loads((root / "samconfig.toml").read_text("utf-8"))[config]
    pairs = configured["deploy"]["parameters"]["parameter_overrides"]
    given = {name: value for name, _, value in (pair.partition("=") for pair in pairs)}
    given |= overrides
    if unknown := given.keys() - known.keys():
        raise Refused(f"template.yaml has no such parameter to give: {', '.join(sorted(unknown))}")
    values = known | given
    if missing := [name for name, value in values.items() if value is None]:
        raise Refused(f"samconfig.toml gives no value of {', '.join(missing)}")
    return {name: value for name, value in values.items() if value is not None}


def _refuse_contradiction(values: Mapping[str, str]) -> None:
    """Insist on executions that no tracker keeps, and on half of them that no wait does."""
    for few, many, is_too_many, wanted in (
        ("TrackersAtOnce", "TrackerConcurrency", int.__ge__, "below"),
        ("WaitsTogether", "ReadConcurrency", _is_over_half, "at most half of"),
        ("WaitsTogether", "CallConcurrency", _is_over_half, "at most half of"),
        ("WaitsInAll", "WaitsTogether", int.__gt__, "at most"),
    ):
        most, part = values[many], values[few]
        if not (most.isdecimal() and part.isdecimal()):
            continue  # CloudFormation refuses it
        if int(most) and is_too_many(int(part), int(most)):
            raise Refused(f"{few}={part} must be {wanted} {many}={most}")


def _is_over_half(part: int, most: int) -> bool:
    return 2 * part > most


def release(root: Path, parameters: Mapping[str, str]) -> str:
    """Name what is deployed, so that whatever differs has another name."""
    digest = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode())
    for path in _files(root):
        content = path.read_bytes()
        digest.update(f"\n{path.relative_to(root).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:_HEX_DIGITS]


def _files(root: Path) -> Iterator[Path]:
    for source in _SOURCES:
        path = root / source
        found = [path] if path.is_file() else sorted(path.rglob("*"))
        yield from (f for f in found if f.is_file() and f.parent.name != "__pycache__")


def plan(root: Path, environment: str, overrides: Mapping[str, str], sam: str) -> Deployment:
    """Say what deploying would do.

    Raises:
        Refused: by a parameter.
    """
    config = _ENVIRONMENTS[environment]
    parameters = effective(root, config, overrides)
    _refuse_contradiction(parameters)
    name = release(root, parameters)
    # SAM has the stack keep the value of what is not passed, whatever it was, and so all is.
    passed = [_pair(*item) for item in {**parameters, "Release": name}.items()]
    known = defaults((root / "template.yaml").read_text("utf-8"))
    return Deployment(
        release=name,
        architecture=parameters["Architecture"],
        changed={key: value for key, value in parameters.items() if value != known[key]},
        commands=(
            (sam, "build", "--config-env", config),
            (sam, "deploy", "--config-env", config, "--parameter-overrides", *passed),
        ),
    )


def _pair(name: str, value: str) -> str:
    # SAM takes a quoted value as it is, unless one of these is in it.
    if re.search(r'["\\]', value) or not value.isprintable():
        raise Refused(f"{name} has a character that SAM cannot be given: {value!r}")
    return f'{name}="{value}"'


def uncommitted(root: Path) -> str:
    """Tell the files that no commit has as they are, as git does."""
    git = ("git", "-C", str(root), "status", "--porcelain")
    done = subprocess.run(git, capture_output=True, text=True, check=False)  # noqa: S603 - constant
    if done.returncode:
        raise Refused(f"git does not tell what is committed: {done.stderr.strip()}")
    return done.stdout.rstrip()


def _override(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text} is not NAME=VALUE")
    return name, value


def _sam(root: Path) -> str:
    own = root / ".venv-sam/bin/sam"
    sam = shutil.which("sam") or (str(own) if own.exists() else None)
    if sam is None:
        raise Refused("There is no sam: tests/run deploy installs one")
    return sam


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="deploy/deploy",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("environment", choices=_ENVIRONMENTS)
    parser.add_argument("overrides", nargs="*", type=_override, metavar="NAME=VALUE")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and end")
    return parser.parse_intermixed_args()


def _checked(asked: argparse.Namespace) -> tuple[Deployment, str]:
    """Plan what is asked for, and tell what of it is not committed."""
    dirty = uncommitted(ROOT)
    if dirty and asked.environment == "prod":
        raise Refused(f"prod is deployed from committed files only:\n{dirty}")
    return plan(ROOT, asked.environment, dict(asked.overrides), _sam(ROOT)), dirty


def main() -> int:
    """Deploy, after having said what that is."""
    asked = _arguments()
    try:
        todo, dirty = _checked(asked)
    except Refused as refusal:
        print(f"{refusal}\nNothing was deployed.", file=sys.stderr)
        return 1
    print(f"{asked.environment}: release {todo.release}{', not committed' if dirty else ''}")
    for name, value in todo.changed.items():
        print(f"  {name}={value}")
    for command in todo.commands:
        print(" ".join(command[:4]), flush=True)
        if not asked.dry_run:
            environment = {**os.environ, "ARCHITECTURE": todo.architecture}  # for shared/Makefile
            done = subprocess.run(command, cwd=ROOT, env=environment, check=False)  # noqa: S603 - sam
            if done.returncode:
                return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
