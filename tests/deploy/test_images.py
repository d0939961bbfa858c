"""The Dockerfiles of deploy/examples do what they say: their steps are run, in a chroot.

Debian 13 stands for the base image, its own Python 3.13 for the image's.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.image import Build, Stage
from tests.deploy.template import ROOT, load_template
from tests.deploy.test_examples import EXAMPLES, make_layer

# In CI that would hide a failed installation.
pytestmark = pytest.mark.skipif(
    (os.getuid() != 0 or shutil.which("debootstrap") is None) and "CI" not in os.environ,
    reason="A chroot is made by root, with debootstrap: apt-get install debootstrap",
)
VERSION = load_template().globals["Runtime"].removeprefix("python")
IMAGE = f"public.ecr.aws/docker/library/python:{VERSION}-slim-bookworm"
QEMU = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")

# Imports every function as Lambda does, of the layer and its own package alone.
IMPORTS = """
import importlib, sys
from pathlib import Path
sys.path[:0] = ["/opt/python", "/var/task"]
for path in sorted(Path("/var/task/functions").glob("*/handler.py")):
    importlib.import_module(f"functions.{path.parent.name}.handler")
of_layer = [m for m in sys.modules.values() if str(getattr(m, "__file__", "")).startswith("/opt/")]
print(len(of_layer) > 100)
for module in of_layer:
    if not module.__file__.endswith(".so") and not Path(module.__cached__).is_file():
        print(module.__file__, "has no bytecode")
"""
# What of the packages is not Python; loads each, and uses two of them.
NATIVE = {"_cffi_backend", "cryptography", "pydantic_core"}
LOADS = """
import importlib, platform, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
for path in sorted(Path(sys.argv[1]).rglob("*.so")):
    parts = path.relative_to(sys.argv[1]).with_name(path.name.partition(".")[0]).parts
    importlib.import_module(".".join(parts))
    print(parts[0])
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic_core import SchemaValidator
key = Ed25519PrivateKey.generate()
key.public_key().verify(key.sign(b"it"), b"it")
print(platform.machine(), SchemaValidator({"type": "int"}).validate_python("7"))
"""
# The packages of that processor, put beside each other: nothing of them is run to install them.
ARM64 = """
set -eu
mkdir -p /arm64/usr/bin /arm64/usr/lib /arm64/apt/state/lists/partial /arm64/apt/archives/partial
ln -s usr/lib /arm64/lib
: >/arm64/apt/status
apt="apt-get -q -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::Cache=/arm64/apt
  -o Dir::State=/arm64/apt/state -o Dir::State::status=/arm64/apt/status"
$apt update
$apt install -y --no-install-recommends --download-only "python$1"
for package in /arm64/apt/archives/*.deb; do dpkg-deb --extract "$package" /arm64; done
"""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Where devices may be, which a machine's /tmp may forbid."""
    with tempfile.TemporaryDirectory(prefix="images-", dir="/var/tmp") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def base(folder: Path) -> Path:
    """What stands for the base image, made anew."""
    done = subprocess.run(
        # What it mounts ends with it, however that ends, before the folder is removed.
        ["unshare", "--mount", "tests/deploy/base.sh", folder / "base"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return folder / "base"


@pytest.fixture(scope="module")
def builds(base: Path, folder: Path) -> dict[str, Build]:
    """The layer's image, built for each processor."""
    made = {}
    for architecture in load_template().parameters["Architecture"]["AllowedValues"]:
        made[architecture] = Build(ROOT, base, folder / architecture, ARCHITECTURE=architecture)
        made[architecture].build(EXAMPLES / "build.Dockerfile")
    return made


def test_the_follower_lives_in_its_image(base: Path, folder: Path) -> None:
    """Its packages install by the locks; it runs as its user, is well by its own question, ends."""
    build = Build(ROOT, base, folder / "follower")
    image = build.build(EXAMPLES / "Dockerfile")
    assert build.began_from == [IMAGE]
    assert image.run("id", "-un") == "calls\n"
    assert '"GET /health" 200' in image.live()


def test_a_layer_that_an_image_has_built_is_taken(builds: dict[str, Build], folder: Path) -> None:
    """By shared/Makefile, as of these sources; all functions import of it, from bytecode."""
    build = builds["x86_64"]
    assert build.began_from == [IMAGE, "scratch"]
    image = build.named["build"]
    taken = make_layer(image.root / "opt", f"LAYER={build.stage.root}")
    assert taken.returncode == 0, taken.stdout + taken.stderr
    shutil.copytree(ROOT / "functions", image.root / "var/task/functions")
    imported = image.run(f"python{VERSION}", "-I", "-S", "-B", "-c", IMPORTS)
    assert imported == "True\n"


def test_the_layer_for_arm64_is_the_same_but_for_what_is_native(builds: dict[str, Build]) -> None:
    """And the packages' own descriptions: what holds of the one holds of the other."""
    ours, arm64 = (builds[name].stage.root / "python" for name in ("x86_64", "arm64"))
    differing = set(differences(ours, arm64))
    native = {path for path in differing if path.endswith(".so")}
    assert {path.partition("/")[0].partition(".")[0] for path in native} == NATIVE
    assert {path for path in differing - native if ".dist-info/" not in path} == set()


def differences(one: Path, other: Path) -> Iterator[str]:
    """Yield each file's path that both folders do not have alike."""
    paths = {p.relative_to(root) for root in (one, other) for p in root.rglob("*") if p.is_file()}
    for path in sorted(paths):
        here, there = one / path, other / path
        if not (here.is_file() and there.is_file() and filecmp.cmp(here, there, shallow=False)):
            yield path.as_posix()


@pytest.mark.skipif(
    QEMU is None and "CI" not in os.environ,
    reason="Another processor is emulated by qemu: apt-get install qemu-user-static",
)
def test_what_is_native_runs_on_arm64(builds: dict[str, Build], tmp_path: Path) -> None:
    """Under emulation, by that processor's own Python of the functions' version."""
    assert QEMU
    image: Stage = builds["x86_64"].named["build"]
    image.run("sh", "-c", ARM64, "sh", VERSION)
    emulated = image.root / "arm64"
    layer = builds["arm64"].stage.root / "python"
    program = tmp_path / "native.py"
    program.write_text(LOADS, encoding="utf-8")
    done = subprocess.run(
        [QEMU, "-L", emulated, emulated / f"usr/bin/python{VERSION}", "-ISB", program, layer],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [*sorted(NATIVE), "aarch64", "7"]
