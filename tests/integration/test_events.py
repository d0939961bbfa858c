"""The handlers as AWS Lambda calls them: API Gateway events, one process, many invocations."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from demo.standin import StandIn
from shared.aws.environment import pinned_loop
from shared.http import request as request_edge
from shared.http.gateway import LambdaHandler
from shared.pbx.hosts import the_pbx
from shared.settings import the_settings
from shared.store.database import the_database
from shared.telemetry import configure_logging
from tests.integration.gateway import (
    EVENTS,
    REQUESTS,
    Context,
    call_to,
    check_same,
    load,
    originates,
    request,
    seed,
    settings,
)
from tests.integration.service import forget_process, make_pbx, run_process
from tests.postgres import Postgres

T = TypeVar("T")


class Background:
    """A loop in a thread of its own: a handler keeps the test's thread to itself."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something there and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def enter(
        self, stack: contextlib.ExitStack, context: contextlib.AbstractAsyncContextManager[T]
    ) -> T:
        """Enter a context there; the stack leaves it, there too."""

        async def leave() -> None:
            await context.__aexit__(None, None, None)

        async def enter() -> T:
            return await context.__aenter__()

        entered = self.run(enter())
        stack.callback(lambda: self.run(leave()))
        return entered

    def end(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture(scope="module")
def background() -> Iterator[Background]:
    """Where the servers run."""
    background = Background()
    yield background
    background.end()


@pytest.fixture(scope="module")
def shared_pbx(background: Background) -> Iterator[StandIn]:
    """One stand-in for both ways to the service."""
    with contextlib.ExitStack() as stack:
        yield background.enter(stack, make_pbx())


@pytest.fixture
def pbx(background: Background, shared_pbx: StandIn) -> StandIn:
    """That one with nothing remembered."""

    async def clear() -> None:
        shared_pbx.hang_up_all()
        while shared_pbx.channels:  # noqa: ASYNC110 - the stand-in tells nobody
            await asyncio.sleep(0.005)
        shared_pbx.commands.clear()
        shared_pbx.invites.clear()

    background.run(clear())
    return shared_pbx


@pytest.fixture(scope="module")
def uvicorn(
    background: Background,
    postgres: Postgres,
    shared_pbx: StandIn,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """The composed app in a real process; its address."""
    folder = tmp_path_factory.mktemp("uvicorn")
    own = settings(postgres, shared_pbx, folder / "service.log")
    with contextlib.ExitStack() as stack:
        yield background.enter(stack, run_process(folder, own)).url


@pytest.fixture
def warm(
    postgres: Postgres, pbx: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[None]:
    """A fresh Lambda environment, as far as one process can tell."""
    seed(postgres)
    for name, value in settings(postgres, pbx, tmp_path / "lambda.log").items():
        monkeypatch.setenv(name, value)
    for path in Path("functions").glob("*/handler.py"):  # the first import sets the log up
        importlib.import_module(f"functions.{path.parent.name}.handler")
    forget_process()
    configure_logging(the_settings())
    end_pinned_loop()
    yield
    pinned_loop().run_until_complete(the_pbx().close())
    the_database().close()
    asyncio.set_event_loop(None)
    end_pinned_loop()
    forget_process()


def end_pinned_loop() -> None:
    """End the loop of an environment that is over; an unclosed one would fail some later test.

    What it left under way ends with it: its thread would keep this process from ending.
    """
    if pinned_loop.cache_info().currsize:
        loop = pinned_loop()
        loop.run_until_complete(_cancel(asyncio.all_tasks(loop)))
        loop.close()
    pinned_loop.cache_clear()


async def _cancel(tasks: set[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def invoke(name: str, event: dict[str, Any], context: Context | None = None) -> dict[str, Any]:
    """Call the handler of an event's function, as Lambda does."""
    module = importlib.import_module(f"functions.{name.partition('-')[0]}.handler")
    handler: LambdaHandler = module.handler
    return handler(event, context or Context())


@pytest.mark.parametrize("name", REQUESTS)
def test_an_event_is_answered_as_its_request(
    warm: None, postgres: Postgres, pbx: StandIn, uvicorn: str, name: str
) -> None:
    """Status, headers and body are uvicorn's, and the PBX is told the same."""
    event = load(name)
    lambda_s = invoke(name, event)
    told_by_lambda = originates(pbx)
    pbx.commands.clear()
    seed(postgres)  # or the second would be a repeat
    over_http = request(uvicorn, event)
    check_same(lambda_s, over_http, event)
    assert told_by_lambda == originates(pbx)
    assert bool(told_by_lambda) == ("call_id" in json.loads(lambda_s["body"]))


def test_every_function_has_an_event() -> None:
    """Each folder of functions/ can be tried with `sam local invoke -e`, and no event is left."""
    functions = {path.parent.name for path in Path("functions").glob("*/handler.py")}
    assert {name.partition("-")[0] for name in EVENTS} == functions


def test_two_invocations_share_one_connection(warm: None, pbx: StandIn) -> None:
    """A warm environment keeps its loop, and so its SSH connection; each call rings once."""
    connections = pbx.connections
    phones = ("+375296254070", "+375290000001", "+375296254070")
    answers = [invoke("makecallexternal", call_to(phone)) for phone in phones]
    bodies = [json.loads(answer["body"]) for answer in answers]
    assert [answer["statusCode"] for answer in answers] == [200, 200, 200]
    assert [body["repeated"] for body in bodies] == [False, False, True]
    assert bodies[0]["call_id"] == bodies[2]["call_id"]
    assert pbx.connections == connections + 1
    assert len(originates(pbx)) == 2
    while pbx.invites["150"] < 2:
        threading.Event().wait(0.005)
    assert pbx.invites["150"] == 2


def test_invocations_run_on_one_loop(warm: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop of the first invocation is that of all, of each function, on the main thread."""
    loops: list[tuple[asyncio.AbstractEventLoop, threading.Thread]] = []
    find = request_edge._request_id

    def noting(scope: Any) -> str:
        loops.append((asyncio.get_running_loop(), threading.current_thread()))
        return find(scope)

    monkeypatch.setattr(request_edge, "_request_id", noting)
    for name in ("health", "status", "makecallexternal", "monitor-listen", "health"):
        invoke(name, load(name))
    assert len(loops) == 5
    assert set(loops) == {(pinned_loop(), threading.main_thread())}


def test_the_gateway_s_request_id_is_ours(warm: None, pbx: StandIn) -> None:
    """An error's `request_id` is API Gateway's, so that both logs can be put side by side."""
    event = load("makecallexternal")
    pbx.asterisk_down = True
    try:
        answer = invoke("makecallexternal", event)
    finally:
        pbx.asterisk_down = False
    body, request_id = json.loads(answer["body"]), event["requestContext"]["requestId"]
    assert (answer["statusCode"], body["request_id"], body["dialled"]) == (500, request_id, "no")
    assert answer["headers"]["x-request-id"] == request_id
    assert (originates(pbx), pbx.invites.total()) == ([], 0)


def test_little_time_left_dials_nothing(warm: None, pbx: StandIn) -> None:
    """An invocation whose time is nearly up sends nothing that it could not settle."""
    answer = invoke("makecallexternal", load("makecallexternal"), Context(left_s=0.9))
    assert answer["statusCode"] in {500, 503}
    assert json.loads(answer["body"])["dialled"] == "no"
    assert (originates(pbx), pbx.invites.total()) == ([], 0)


def test_a_body_in_base64_is_the_same_body(warm: None, pbx: StandIn) -> None:
    """API Gateway may encode what it takes for binary."""
    event = load("makecallexternal-post")
    event["body"] = "eyJmcm9tIjogIjE1MCIsICJ0byI6ICIrMzc1MjkwMDAwMDA1In0="
    event["isBase64Encoded"] = True
    assert invoke("makecallexternal", event)["statusCode"] == 201
    assert len(originates(pbx)) == 1
