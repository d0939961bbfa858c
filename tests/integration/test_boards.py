"""The boards for Grafana, and the rules, by a real Prometheus that has read a real service."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from demo.postgres import free_port
from shared.metrics.families import FAMILIES
from tests.integration.service import (
    LIMIT_S,
    OTHER_PHONE,
    ROOT,
    SECRET,
    environment,
    make_pbx,
    run_process,
    seed,
)
from tests.integration.test_alerts import rules
from tests.integration.test_deployed_files import program
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

BOARDS = {path.stem: path for path in sorted((ROOT / "deploy" / "grafana").glob("*.json"))}
# What Grafana puts in their place; "All" is `.*`.
CHOSEN = {"$__rate_interval": "1m", "$job": ".*", "$pbx": ".*", "$eid": ".*"}
# What has no series, or no number, after one call that went well, and why.
EMPTY = {
    "asterisk_calls_refusals_total": "nothing was refused",
    "asterisk_calls_release_defects_total": "no request met a defect",
    'status=~"5.."': "nothing failed",
}
# A histogram's quantile is no number where nothing fell into it.
NO_NUMBER = {
    "asterisk_calls_database_statement_seconds_bucket": "no statement failed",
    "asterisk_calls_request_seconds_bucket": "some routes were asked once, before the first look",
}
_METRIC = re.compile(r"\b(?:asterisk_\w+|up)\b")
_CONFIGURATION = """
global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}
scrape_configs:
  - job_name: asterisk-calls
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


def panels(board: Path) -> list[dict[str, Any]]:
    """List a board's panels, without its rows."""
    return [
        panel for panel in json.loads(board.read_text("utf-8"))["panels"] if panel["type"] != "row"
    ]


def expressions(board: Path) -> Iterator[str]:
    """Yield what a board asks, as Grafana would."""
    for panel in panels(board):
        for target in panel["targets"]:
            yield as_asked(target["expr"])


def as_asked(expression: str) -> str:
    """Put values in the places of a board's variables."""
    for name, value in CHOSEN.items():
        expression = expression.replace(name, value)
    return expression


# What can be known without a Prometheus


def series_of_families() -> dict[str, set[str]]:
    """Name each series that there is, with its labels."""
    known = {"up": {"job", "instance"}}
    for family in FAMILIES:
        labels = {*family.labels, "job", "instance"}
        if family.kind == "histogram":
            known |= {f"{family.full_name}_{end}": labels for end in ("sum", "count")}
            known[f"{family.full_name}_bucket"] = labels | {"le"}
        else:
            known[family.full_name] = labels
    return known


def test_every_metric_of_boards_and_rules_is_told() -> None:
    """By its whole name; and every family but few is on a board or in a rule."""
    asked = [as_asked(e) for board in BOARDS.values() for e in expressions(board)]
    asked += [rule["expr"] for rule in rules()]
    named = {name for each in asked for name in _METRIC.findall(each)}
    known = series_of_families()
    assert named <= set(known)
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in named} | named
    assert {family.full_name for family in FAMILIES} <= shown


def test_every_label_of_boards_and_rules_is_one_of_its_metric() -> None:
    """In a selection and in a variable; a label that is none would select nothing, or all."""
    known = series_of_families()
    texts = [e for board in BOARDS.values() for e in expressions(board)]
    texts += [rule["expr"] for rule in rules()]
    for text in texts:
        for name, selection in re.findall(r"\b(asterisk_\w+|up)\{([^}]*)\}", text):
            labels = set(re.findall(r'(\w+)(?:=~|!~|!=|=)"', selection))
            assert labels <= known[name], text
    for board in BOARDS.values():
        for variable in json.loads(board.read_text("utf-8"))["templating"]["list"]:
            if variable["type"] == "query":
                ask = re.fullmatch(
                    r"label_values\((\w+)(?:\{.*\})?, (\w+)\)", variable["definition"]
                )
                assert ask
                assert ask[2] in known[ask[1]]


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_is_whole(name: str) -> None:
    """Numbers of its own, no panel over another, a sentence each, and the data source to choose."""
    board = json.loads(BOARDS[name].read_text("utf-8"))
    assert (board["uid"], board["id"]) == (f"asterisk-calls-{name}", None)
    assert board["schemaVersion"] >= 39  # Grafana 10
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    variables = [variable["name"] for variable in board["templating"]["list"]]
    assert variables[0] == "datasource"
    for panel in panels(BOARDS[name]):
        assert panel["description"].endswith("."), panel["title"]
        for each in (panel, *panel["targets"]):
            assert each["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    asked = "".join(each["expr"] for panel in panels(BOARDS[name]) for each in panel["targets"])
    used = set(re.findall(r"\$(\w+)", asked))
    assert used - {"__rate_interval"} == set(variables) - {"datasource"}


# By a real Prometheus


@contextlib.asynccontextmanager
async def prometheus(folder: Path, port_read: int) -> AsyncIterator[httpx.AsyncClient]:
    """Run one that reads a service, on a port of its own, until the block ends."""
    found = program("prometheus", "prometheus")
    (folder / "prometheus.yml").write_text(_CONFIGURATION.format(port=port_read))
    port = free_port()
    with (folder / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(found, f"--config.file={folder / 'prometheus.yml'}"),
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            stdout=log,
            stderr=log,
        )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=LIMIT_S) as http:
            with anyio.fail_after(LIMIT_S):
                while not await is_ready(http):
                    assert process.returncode is None, (folder / "prometheus.log").read_text()
                    await anyio.sleep(0.05)
            yield http
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def is_ready(http: httpx.AsyncClient) -> bool:
    """Tell whether it answers."""
    with contextlib.suppress(httpx.TransportError):
        return (await http.get("/-/ready")).status_code == 200
    return False


async def ask(http: httpx.AsyncClient, expression: str) -> list[float]:
    """Evaluate an expression now: the value of each series."""
    answer = (await http.get("/api/v1/query", params={"query": expression})).json()
    assert answer["status"] == "success", (expression, answer)
    return [float(series["value"][1]) for series in answer["data"]["result"]]


async def test_every_panel_shows_something_after_a_call(postgres: Postgres, tmp_path: Path) -> None:
    """A call that went well is all over both boards, but for what did not happen; no rule rings."""
    program("prometheus", "prometheus")
    seed(postgres)
    async with contextlib.AsyncExitStack() as stack:
        pbx = await stack.enter_async_context(make_pbx(time_scale=0.3))
        settings = environment(postgres, pbx.port, str(tmp_path / "log"))
        service = await stack.enter_async_context(run_process(tmp_path, settings))
        http = await stack.enter_async_context(
            prometheus(tmp_path, int(service.url.rpartition(":")[2]))
        )
        told = as_asked("count(asterisk_calls_build_info)")
        await until_told(http, told)
        async with httpx.AsyncClient(base_url=service.url, timeout=LIMIT_S) as client:
            answer = await client.get(
                "/api/makecallexternal",
                params={"code": "154", "phone": OTHER_PHONE},
                headers={"Authorization": f"Bearer {SECRET}"},
            )
            assert answer.status_code == 200, answer.text
        await until_told(http, 'asterisk_calls_ended_total{reason="answered"} == 1')
        await until_told(http, "asterisk_endpoints_count")
        await until_told(http, "count_over_time(asterisk_core_uptime_seconds[1m]) > 2")
        await until_told(http, 'sum(rate(asterisk_calls_ended_total{reason="answered"}[1m])) > 0')
        wrong = {
            expression: values
            for board in BOARDS.values()
            for expression in expressions(board)
            if not shows(expression, values := await ask(http, looked_back(expression)))
        }
        assert wrong == {}
        rings = {rule["alert"]: await ask(http, rule["expr"]) for rule in rules()}
        assert {name for name, values in rings.items() if values} == set()


async def until_told(http: httpx.AsyncClient, expression: str) -> None:
    """Wait until an expression has a value."""
    with anyio.fail_after(LIMIT_S):
        while not await ask(http, expression):  # noqa: ASYNC110 - it tells nobody
            await anyio.sleep(0.1)


def looked_back(expression: str) -> str:
    """Ask for a tracker's own gauges as they last were: the call, and so its tracker, is over."""
    return re.sub(r"(asterisk_calls_tracker_\w+\{[^}]*\})", r"last_over_time(\1[5m])", expression)


def shows(expression: str, values: list[float]) -> bool:
    """Tell whether a panel has what it is to have."""
    if any(part in expression for part in EMPTY):
        return values == []
    if not values:
        return False
    may_be_none = any(part in expression for part in NO_NUMBER)
    return any(map(math.isfinite, values)) if may_be_none else all(map(math.isfinite, values))
