"""Imports go one way: who may import whom, as a table."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]

# Our own modules, by layer, from the top down.
LAYERS = {
    "service": ["asterisk"],
    "functions": ["functions.*"],
    "operate": ["shared.operate"],
    "trackers": ["shared.trackers", "shared.tracker"],
    "placing": [
        *("shared.placing", "shared.late", "shared.hanging_up", "shared.transferring"),
        "shared.history",
    ],
    "http": ["shared.web", "shared.auth", "shared.fields"],
    "caller": ["shared.caller"],
    "work": [
        *("shared.admission", "shared.hostkeys", "shared.pbx", "shared.records"),
        *("shared.identity", "shared.calls", "shared.following", "shared.wake"),
        "shared.cdrfile",
    ],
    "asterisk": ["shared.asterisk.*"],
    "ssh": ["shared.ssh.*"],
    "database": ["shared.database"],
    "ground": [
        *("shared.errors", "shared.settings", "shared.telemetry", "shared.deadline"),
        *("shared.sheet", "shared.snapstart", "shared.aws", "shared.secrets"),
    ],
}

# A layer may import these layers, and itself where it stands among them.
MAY_IMPORT = {
    "service": ["functions", "trackers", "placing", "http", "work", "database", "ground"],
    "functions": [
        *("trackers", "placing", "http", "caller", "work", "asterisk", "database", "ground"),
    ],
    "operate": ["database", "ground"],
    "trackers": ["trackers", "work", "asterisk", "database", "ground"],
    "placing": ["placing", "work", "caller", "asterisk", "database", "ground"],
    "http": ["http", "caller", "asterisk", "ground"],
    "caller": ["ground"],
    "work": ["work", "caller", "asterisk", "ssh", "database", "ground"],
    "asterisk": ["asterisk", "ground"],
    "ssh": ["ssh", "ground"],
    "database": ["ground"],
    "ground": ["ground"],
}

# Libraries that only these modules know.
ONLY_IN = {
    "fastapi": ["asterisk", "functions.*", "shared.web", "shared.auth", "shared.fields"],
    "starlette": ["shared.web"],
    "mangum": ["shared.web"],
    "uvicorn": ["asterisk"],
    "asyncssh": ["shared.ssh.connection"],
    "pg8000": ["shared.database"],
    "scramp": ["shared.database"],
    "aws_lambda_powertools": ["shared.telemetry", "shared.secrets"],
    "boto3": ["shared.aws"],
    "botocore": ["shared.aws"],
    "snapshot_restore_py": ["shared.snapstart"],
}

# Who reads or writes the environment. asyncssh asks for the local user's name even though it is
# given one, and a Lambda environment has none: the connection gives LOGNAME a default.
ENVIRONMENT = ["shared.settings", "shared.ssh.connection"]


class Module(NamedTuple):
    """A module of the service, parsed."""

    name: str
    tree: ast.Module

    def imports(self) -> Iterator[str]:
        """Yield every module that it imports, those inside functions too."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.name}: a relative import"
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    yield inner if inner in MODULES else str(node.module)


def find_modules() -> Iterator[Module]:
    """Yield everything that is shipped."""
    for path in (
        ROOT / "asterisk.py",
        *ROOT.glob("shared/**/*.py"),
        *ROOT.glob("functions/**/*.py"),
    ):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        yield Module(name, ast.parse(path.read_text("utf-8"), filename=str(path)))


MODULES = {module.name: module for module in find_modules()}


def stands_for(pattern: str, name: str) -> bool:
    """Tell whether `shared.ssh.*` or a plain name stands for a module."""
    package = pattern.removesuffix(".*")
    return name == package or (pattern != package and name.startswith(f"{package}."))


def layer_of(name: str) -> str | None:
    """Find a module's layer; None for a module that is not ours."""
    for layer, patterns in LAYERS.items():
        if any(stands_for(pattern, name) for pattern in patterns):
            return layer
    return None


modules = pytest.mark.parametrize(
    "module", [pytest.param(module, id=module.name) for module in MODULES.values()]
)


@modules
def test_module_imports_only_what_lies_below(module: Module) -> None:
    """Every import of one of our own modules is in the table."""
    if module.name == "shared":
        return
    layer = layer_of(module.name)
    assert layer, f"{module.name} has no layer in the table"
    for imported in module.imports():
        if imported.split(".")[0] in {"asterisk", "shared", "functions"}:
            assert layer_of(imported) in MAY_IMPORT[layer], imported


@modules
def test_library_is_known_where_it_is_named_only(module: Module) -> None:
    """A third-party library's errors and types stay in the module that maps them."""
    for imported in module.imports():
        allowed = ONLY_IN.get(imported.split(".")[0])
        if allowed is not None:
            assert any(stands_for(pattern, module.name) for pattern in allowed), imported


@modules
def test_nothing_shipped_imports_the_tests_or_the_demo(module: Module) -> None:
    """What stands beside the service is not part of it."""
    beside = {"tests", "demo", "bench", "deploy", "pytest", "hypothesis", "httpx"}
    assert not beside & {imported.split(".")[0] for imported in module.imports()}


@modules
def test_environment_is_read_in_one_place(module: Module) -> None:
    """Settings alone read the environment; one reasoned default is set elsewhere."""
    found = {
        node.attr
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
        and node.attr in {"environ", "environb", "getenv", "putenv"}
    }
    found |= {name for name in module.imports() if name.startswith("os.")}
    assert not found or module.name in ENVIRONMENT
    assert not any(
        isinstance(node, ast.ImportFrom) and node.module == "os" for node in ast.walk(module.tree)
    )


def test_connection_sets_no_more_than_a_default_user_name() -> None:
    """The one exception is `os.environ.setdefault("LOGNAME", ...)`, once."""
    tree = MODULES["shared.ssh.connection"].tree
    uses = [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("os.environ")
    ]
    assert len(uses) == ast.unparse(tree).count("os.environ") <= 1
    assert all(use.startswith("os.environ.setdefault('LOGNAME'") for use in uses)


def test_no_function_imports_another() -> None:
    """Each folder of functions/ can be deployed without the others."""
    for module in MODULES.values():
        if module.name.startswith("functions."):
            own = module.name.split(".")[1]
            for imported in module.imports():
                parts = imported.split(".")
                assert parts[0] != "functions" or parts[1] == own, module.name


def test_asterisk_py_composes_every_function() -> None:
    """The whole service has each router; a function without one is called by no HTTP request."""
    folders = {
        name.split(".")[1]
        for name, module in MODULES.items()
        if name.startswith("functions.") and "router = APIRouter(" in ast.unparse(module.tree)
    }
    assert folders
    composed = {name.split(".")[1] for name in MODULES["asterisk"].imports() if "functions" in name}
    assert folders == composed


def test_asterisk_and_ssh_do_not_know_each_other() -> None:
    """The command line is spoken over any transport; the transport carries any words."""
    for module in MODULES.values():
        for one, other in (("shared.asterisk", "shared.ssh"), ("shared.ssh", "shared.asterisk")):
            if module.name.startswith(one):
                assert not any(name.startswith(other) for name in module.imports())


def test_imports_have_no_ring() -> None:
    """Even within a layer no module imports, by whatever way, itself."""
    below = {
        name: {imported for imported in module.imports() if imported in MODULES}
        for name, module in MODULES.items()
    }
    while leaves := [name for name, imports in below.items() if not imports]:
        for leaf in leaves:
            del below[leaf]
        below = {name: imports - set(leaves) for name, imports in below.items()}
    assert below == {}
