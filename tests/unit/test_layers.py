"""Imports go one way: who may import whom, as a table."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

GROUND = [
    f"shared.{name}"
    for name in (
        *(
            "errors",
            "settings",
            "deadline",
            "telemetry",
            "logfile",
            "measures",
            "notices",
            "process",
            "turns",
            "together",
            "numbering",
        ),
    )
]

# Our own modules, by room; the first one that stands for a module is its room.
ROOMS = {
    "service": ["asterisk"],
    "functions": ["functions.*"],
    "ground": GROUND,
    "models": ["shared.asterisk.models"],
    **{
        name: [f"shared.{name}.*"]
        for name in (
            *("asterisk", "ssh", "aws", "store", "pbx", "http", "auth", "following", "history"),
            *("calls", "events", "metrics", "operate", "panel", "description", "webhooks", "push"),
        )
    },
}

# What a room may import beside itself and the ground, on which all stand. docs/architecture.md has
# the same table.
MAY_IMPORT = {
    "ground": [],
    "models": [],
    "asterisk": ["models"],
    "ssh": [],
    "aws": [],
    "http": ["models", "aws"],
    "store": ["models", "aws"],
    "pbx": ["models", "asterisk", "ssh", "aws", "store"],
    "auth": ["models", "store", "http"],
    "following": ["models", "asterisk", "aws", "store", "pbx"],
    "history": ["models", "asterisk", "store", "pbx", "auth"],
    "calls": ["models", "asterisk", "store", "pbx", "auth", "following"],
    "events": ["models", "http", "store", "auth", "following", "calls"],
    "webhooks": ["store", "events"],
    "push": ["models", "aws", "store", "events"],
    "operate": ["models", "asterisk", "store", "pbx", "auth", "webhooks"],
    "metrics": ["models", "http", "store", "pbx", "auth", "following"],
    "functions": [
        *("models", "asterisk", "aws", "http", "store", "pbx", "auth", "following", "history"),
        *("calls", "events", "webhooks", "push"),
    ],
    "panel": [
        *("models", "asterisk", "aws", "http", "store", "pbx", "auth", "following", "history"),
        *("calls", "events", "operate"),
    ],
    "description": ["http", "models"],
    "service": [
        *("functions", "panel", "http", "store", "auth", "following", "metrics", "pbx"),
        *("description", "webhooks"),
    ],
}

# Libraries that only these modules know.
ONLY_IN = {
    "fastapi": [
        *("asterisk", "functions.*", "shared.http.*", "shared.auth.credentials"),
        *("shared.metrics.page", "shared.description.page"),
        *(f"shared.panel.{name}" for name in ("app", "door", "pages")),
    ],
    "starlette": ["shared.http.*", "shared.panel.door"],
    "jinja2": ["shared.panel.rendering"],
    "markupsafe": ["shared.panel.rendering"],
    "mangum": ["shared.http.gateway"],
    "uvicorn": ["asterisk", "shared.http.handover", "shared.http.server", "shared.http.sockets"],
    "httpcore": ["shared.webhooks.posting"],
    "httptools": ["shared.http.server"],
    "asyncssh": [f"shared.ssh.{name}" for name in ("channels", "connection", "files", "login")],
    "pg8000": [f"shared.store.{name}" for name in ("connection", "database", "sqlstates")],
    "scramp": ["shared.store.connection"],
    "aws_lambda_powertools": ["shared.telemetry", "shared.aws.logins"],
    "prometheus_client": ["shared.metrics.meters"],
    "boto3": ["shared.aws.clients"],
    "botocore": ["shared.aws.clients"],
    "snapshot_restore_py": ["shared.aws.snapstart"],
}

# Who reads or writes the environment. asyncssh asks for the local user's name even though it is
# given one, and a Lambda environment has none: the log-in gives LOGNAME a default.
ENVIRONMENT = ["shared.settings", "shared.ssh.login"]


@dataclass(frozen=True)
class Module:
    """A module of the service."""

    name: str
    path: Path

    @cached_property
    def tree(self) -> ast.Module:
        """It parsed, once a test asks: whoever collects the tests needs no more than its name."""
        return ast.parse(self.path.read_text("utf-8"), filename=str(self.path))

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


def load_modules() -> Iterator[Module]:
    """Yield everything that is shipped."""
    for path in (
        ROOT / "asterisk.py",
        *ROOT.glob("shared/**/*.py"),
        *ROOT.glob("functions/**/*.py"),
    ):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        yield Module(name, path)


MODULES = {module.name: module for module in load_modules()}


def stands_for(pattern: str, name: str) -> bool:
    """Tell whether `shared.ssh.*` or a plain name stands for a module."""
    package = pattern.removesuffix(".*")
    return name == package or (pattern != package and name.startswith(f"{package}."))


def room_of(name: str) -> str | None:
    """Find a module's room; None for a module that is not ours."""
    for room, patterns in ROOMS.items():
        if any(stands_for(pattern, name) for pattern in patterns):
            return room
    return None


modules = pytest.mark.parametrize(
    "module", [pytest.param(module, id=module.name) for module in MODULES.values()]
)


@modules
def test_module_imports_only_what_lies_below(module: Module) -> None:
    """Every import of one of our own modules of another room is in the table."""
    if module.name == "shared":
        return
    room = room_of(module.name)
    assert room, f"{module.name} has no room in the table"
    allowed = {room, "ground", *MAY_IMPORT[room]}
    for imported in module.imports():
        if imported.split(".")[0] in {"asterisk", "shared", "functions"}:
            assert room_of(imported) in allowed, imported


def test_only_credentials_know_the_requests_edge() -> None:
    """Of the room that says who may do what, one module alone reads HTTP."""
    for module in MODULES.values():
        if module.name.startswith("shared.auth.") and module.name != "shared.auth.credentials":
            assert not any(name.startswith("shared.http") for name in module.imports())


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


def test_log_in_sets_no_more_than_a_default_user_name() -> None:
    """The one exception is `os.environ.setdefault("LOGNAME", ...)`, once."""
    tree = MODULES["shared.ssh.login"].tree
    uses = [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("os.environ")
    ]
    assert len(uses) == ast.unparse(tree).count("os.environ") == 1
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
