"""The warm `makecallexternal`, beside the specification's own way and beside AMI.

    sudo python -m bench.hot_path [--version 16|22] [--rounds 100]

Real Asterisk, real sshd, real PostgreSQL; one run, the three in turn, so that a slow moment of the
machine hits all of them. Prints medians and their ratios. Needs sshpass and ssh.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlencode

from demo.postgres import free_port
from tests.pbx.lab import Lab
from tests.postgres import Postgres

SECRET = "bench-secret-0001"
# Equal orders of one enterprise that are under way at once are one call: each request is another's.
ENTERPRISES = 1000
_numbers = itertools.count()


def query() -> str:
    """Make the next request's query: the same order, of the next enterprise."""
    secret = f"{SECRET}-{next(_numbers) % ENTERPRISES}"
    return urlencode({"code": "900", "phone": "900", "clientId": secret})


APPS = {
    "this service": "asterisk:app",
    "AMI, persistent": "bench.alternatives:ami",
    "sshpass + ssh": "bench.alternatives:specification",
}


@contextmanager
def serving(app: str, environment: dict[str, str]) -> Iterator[int]:
    """Run a service on a free port."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", app, "--port", str(port), "--no-access-log"]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        try:
            for _ in range(200):
                try:
                    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
                    connection.request("GET", "/health")
                    connection.getresponse().read()
                    break
                except OSError:
                    time.sleep(0.1)
            yield port
        finally:
            process.terminate()
            process.wait()


@contextmanager
def prepared(version: str, *, others: int = 0) -> Iterator[tuple[Lab, dict[str, str]]]:
    """Bring a PBX up beside a database with one enterprise, or with others on the same PBX too.

    Yields also the environment of a service there.
    """
    lab = Lab.of("16" if version == "16" else "22")
    lab.up()
    postgres = Postgres().start()
    with ExitStack() as stack:
        stack.callback(postgres.stop)
        postgres.prepare()
        postgres.seed_enterprise("0001", "bench", "127.0.0.1", SECRET)
        if others:
            postgres.execute(
                "INSERT INTO enterprises SELECT 'n' || n, 'bench', '127.0.0.1',"
                " :secret || '-' || n, true FROM generate_series(0, :last) n",
                secret=SECRET,
                last=others - 1,
            )
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        yield (
            lab,
            {
                **os.environ,
                **postgres.environment(),
                "SSH_PORT": str(lab.ssh_port),
                "SSH_PASSWORD": lab.password,
                "REPEAT_WINDOW_S": "0.000001",
                "RATE_LIMIT_EXTENSION": "1000000/1",
                "LOG_FILE": str(Path(folder) / "log"),
            },
        )


_local = threading.local()


def get(port: int) -> float:
    """Place one call; the milliseconds that it took, over a connection that is kept."""
    connections = _local.__dict__.setdefault("connections", {})
    connection = connections.get(port) or http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    started = time.perf_counter()
    connection.request("GET", f"/api/makecallexternal?{query()}")
    response = connection.getresponse()
    body = response.read()
    if response.status != http.HTTPStatus.OK:
        raise RuntimeError(f"{response.status} {body.decode()}")
    if json.loads(body).get("repeated"):
        raise RuntimeError("an order that was under way still: nothing was measured")
    connections[port] = connection
    return (time.perf_counter() - started) * 1000


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version", choices=["16", "22"], default="16")
    parser.add_argument("--rounds", type=int, default=100)
    options = parser.parse_args()
    if not (shutil.which("sshpass") and shutil.which("ssh")):
        sys.exit("The comparison needs sshpass and ssh: apt-get install sshpass openssh-client")
    with ExitStack() as stack:
        lab, environment = stack.enter_context(prepared(options.version, others=ENTERPRISES))
        environment |= {
            "DIALPLAN_CONTEXT": "park",
            "UNKNOWN_HOLD_S": "0.000001",
            "RATE_LIMIT_ENTERPRISE": "1000000/1",
            "AMI_PORT": str(lab.ami_port),
            "AMI_USER": "lab",
            "AMI_PASSWORD": "lab",
        }
        ports = {name: stack.enter_context(serving(app, environment)) for name, app in APPS.items()}
        for port in ports.values():
            get(port)  # the first one logs in
        alone(ports, options.rounds)
        together(ports)


def alone(ports: dict[str, int], rounds: int) -> None:
    """One client, the services in turn."""
    times: dict[str, list[float]] = {name: [] for name in ports}
    for number in range(rounds):
        for name, port in ports.items():
            if name != "sshpass + ssh" or number % 5 == 0:
                times[name].append(get(port))
    ours = statistics.median(times["this service"])
    print(f"{'one client':>16}   p50 ms   p95 ms   this service / it")
    for name, values in times.items():
        p95 = statistics.quantiles(values, n=20)[-1]
        print(
            f"{name:>16} {statistics.median(values):8.1f} {p95:8.1f}"
            f"   {ours / statistics.median(values):.3f}"
        )


def together(ports: dict[str, int], clients: int = 32, requests: int = 640) -> None:
    """Many clients at once; sshpass is left out, since sshd drops most of its log-ins."""
    rates = {}
    for name, port in ports.items():
        if name != "sshpass + ssh":
            with ThreadPoolExecutor(clients) as executor:
                started = time.perf_counter()
                list(executor.map(get, [port] * requests))
                rates[name] = requests / (time.perf_counter() - started)
    print(f"\n{f'{clients} clients':>16}  calls/s   this service / it")
    for name, rate in rates.items():
        print(f"{name:>16} {rate:8.0f}   {rates['this service'] / rate:.2f}")


if __name__ == "__main__":
    main()
