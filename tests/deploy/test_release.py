"""deploy/deploy: what it has SAM do, told by a stand-in that writes down what it is asked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.release import defaults
from tests.deploy.template import ROOT, TEMPLATE, load_template

SAM_PYTHON = ROOT / ".venv-sam/bin/python"
STAND_IN = """#!{python}
import json, os, sys
with open({log!r}, "a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
sys.exit(int(os.environ.get("SAM_FAILS") == sys.argv[1]))
"""

# What SAM makes of --parameter-overrides.
READ = """
import json, sys
from samcli.cli.types import CfnParameterOverridesType
print(json.dumps(CfnParameterOverridesType().convert(tuple(sys.argv[1:]), None, None)))
"""


class Checkout:
    """A checkout with all committed, and a stand-in of SAM first on its PATH."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "checkout"
        self._log = folder / "asked"
        ignored = shutil.ignore_patterns("__pycache__")
        for name in ("deploy", "shared", "functions"):
            shutil.copytree(ROOT / name, self.root / name, ignore=ignored)
        for name in ("template.yaml", "samconfig.toml", ".gitignore"):
            shutil.copy(ROOT / name, self.root)
        sam = folder / "bin/sam"
        sam.parent.mkdir()
        sam.write_text(STAND_IN.format(python=sys.executable, log=str(self._log)), "utf-8")
        sam.chmod(0o755)
        self._environment = {
            **os.environ,
            "PATH": f"{sam.parent}:{os.environ['PATH']}",
            "PYTHON": sys.executable,
            "GIT_CONFIG_GLOBAL": os.devnull,
        }
        self.git("init", "--quiet")
        self.commit()

    def git(self, *words: str) -> str:
        """Run git there."""
        name = ("-c", "user.name=demo", "-c", "user.email=demo@example.test")
        return subprocess.run(
            ["git", "-C", self.root, *name, *words],
            env=self._environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    def commit(self) -> str:
        """Commit all that is there; by which name it is found again."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "A state")
        return self.git("rev-parse", "HEAD")

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run deploy/deploy from elsewhere."""
        return subprocess.run(
            [self.root / "deploy/deploy", *words],
            cwd="/",
            env={**self._environment, **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def asked(self) -> list[list[str]]:
        """What SAM was asked, each time."""
        if not self._log.exists():
            return []
        return [json.loads(line) for line in self._log.read_text("utf-8").splitlines()]

    def parameters(self) -> dict[str, str]:
        """What the last deployment passed, without the quotes that SAM takes off."""
        *_, last = self.asked()
        assert last[:4] == ["deploy", "--config-env", last[2], "--parameter-overrides"]
        pairs = (pair.partition("=") for pair in last[4:])
        return {name: value.removeprefix('"').removesuffix('"') for name, _, value in pairs}


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """One of its own."""
    return Checkout(tmp_path)


def test_defaults_are_read_as_yaml_has_them() -> None:
    """Of every parameter, those without one included."""
    wanted = {
        name: str(item["Default"]) if "Default" in item else None
        for name, item in load_template().parameters.items()
    }
    assert defaults(TEMPLATE.read_text("utf-8")) == wanted


@pytest.mark.parametrize(("environment", "config"), [("dev", "default"), ("prod", "prod")])
def test_builds_and_deploys_with_every_parameter(
    checkout: Checkout, environment: str, config: str
) -> None:
    """What is not passed the stack would keep as it was, whatever the hash says."""
    done = checkout.run(environment)
    assert done.returncode == 0, done.stderr
    build, deploy = checkout.asked()
    assert build == ["build", "--config-env", config]
    assert deploy[2] == config
    passed = checkout.parameters()
    assert set(passed) == set(load_template().parameters)
    assert passed["Release"] in done.stdout
    assert f"database.{environment}.example.test" in done.stdout
    assert passed["RateLimitEnterprise"] == "300/60"


def test_an_override_makes_another_release_and_does_not_stay(checkout: Checkout) -> None:
    """It replaces its value alone, and is gone in the next deployment."""
    passed = []
    for words in ([], ["DestinationsDenied=900,901"], []):
        assert checkout.run("prod", *words).returncode == 0
        passed.append(checkout.parameters())
    before, overridden, after = passed
    assert before == after
    differing = {name for name, value in overridden.items() if value != before[name]}
    assert differing == {"DestinationsDenied", "Release"}
    assert overridden["DestinationsDenied"] == "900,901"


def test_an_earlier_commit_is_the_earlier_release(checkout: Checkout) -> None:
    """That is how it is rolled back later."""
    first = checkout.git("rev-parse", "HEAD")
    names = []
    for turn in range(3):
        if turn == 1:
            (checkout.root / "shared/errors.py").write_text("# other\n", encoding="utf-8")
            checkout.commit()
        elif turn == 2:
            checkout.git("checkout", "--quiet", first)
        assert checkout.run("prod").returncode == 0
        names.append(checkout.parameters()["Release"])
    assert names[0] == names[2] != names[1]


@pytest.mark.parametrize("name", ["shared/errors.py", "shared/new.py"])
def test_prod_is_refused_what_is_not_committed(checkout: Checkout, name: str) -> None:
    """A changed file and a new one; dev takes them."""
    (checkout.root / name).write_text("# other\n", encoding="utf-8")
    refused = checkout.run("prod")
    assert refused.returncode == 1
    assert name in refused.stderr
    assert checkout.asked() == []
    taken = checkout.run("dev")
    assert taken.returncode == 0
    assert "not committed" in taken.stdout


@pytest.mark.parametrize(
    ("override", "why"),
    [
        ("Destinations=900", "Destinations"),
        ("TrackerConcurrency=5", "must be below TrackerConcurrency=5"),
        ("ReadConcurrency=3", "WaitsTogether=2 must be at most half of ReadConcurrency=3"),
        ("CallConcurrency=3", "WaitsTogether=2 must be at most half of CallConcurrency=3"),
        ("WaitsInAll=3", "WaitsInAll=3 must be at most WaitsTogether=2"),
        ("Release=0123456789abcdef", "Release"),
        ('DialplanContext=a"b', "DialplanContext"),
    ],
)
def test_a_wrong_override_deploys_nothing(checkout: Checkout, override: str, why: str) -> None:
    """A parameter that there is not, the release's own, and what SAM would read otherwise."""
    refused = checkout.run("dev", override)
    assert (refused.returncode, checkout.asked()) == (1, [])
    assert why in refused.stderr


def test_a_dry_run_says_what_it_would_do(checkout: Checkout) -> None:
    """The release, what differs from the defaults, both commands; and does nothing."""
    done = checkout.run("prod", "--dry-run", "SlowMs=900")
    assert (done.returncode, checkout.asked()) == (0, [])
    assert "prod: release " in done.stdout
    assert "  SlowMs=900\n" in done.stdout
    assert "sam build" in done.stdout
    assert "sam deploy" in done.stdout


def test_what_cannot_be_built_is_not_deployed(checkout: Checkout) -> None:
    """The old artifacts lie there, and would be deployed under the new name."""
    assert checkout.run("dev", SAM_FAILS="build").returncode == 1
    assert [asked[0] for asked in checkout.asked()] == ["build"]
    assert checkout.run("dev", SAM_FAILS="deploy").returncode == 1


@pytest.mark.skipif(
    not SAM_PYTHON.exists() and "CI" not in os.environ,
    reason="SAM is not here; run these tests with: tests/run deploy",
)
def test_sam_reads_the_values_that_are_meant(checkout: Checkout) -> None:
    """Its own parser: empty ones, spaces, commas, apostrophes, equal signs."""
    values = {"DestinationsDenied": "", "DialplanContext": "it's a, b=c", "AlarmEmail": " x "}
    words = [f"{name}={value}" for name, value in values.items()]
    assert checkout.run("dev", *words).returncode == 0
    read = subprocess.run(
        [
            SAM_PYTHON,
            "-c",
            READ,
            *checkout.asked()[-1][4:],
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(read.stdout)
    assert {name: found[name] for name in values} == values
    assert found == checkout.parameters()
