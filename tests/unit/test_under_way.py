"""How many pages of history are read at once: one of an enterprise, a few of a host."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from fastapi import FastAPI, Request

from shared.auth.credentials import collect_dialler, placed_headers
from shared.auth.enterprise import Enterprise
from shared.auth.under_way import UnderWay, granted_wait_s, the_histories
from shared.errors import LimitExceeded, PbxBusy

pytestmark = pytest.mark.anyio

HOST, OTHER = "192.0.2.10", "192.0.2.11"


def of(number: str, host: str = HOST) -> Enterprise:
    """Make an enterprise of a host."""
    return Enterprise(number, "june", host, None, None, may_share=False, cursor_key="")


@pytest.fixture
def pages() -> UnderWay:
    """That of the histories, used by nobody yet."""
    return the_histories()


async def test_a_host_is_read_twice_at_once_whoever_asks(pages: UnderWay) -> None:
    """What a hostile one sends takes the memory of two pages, however many enterprises it has."""
    async with AsyncExitStack() as stack:
        for number in ("1", "2"):
            await stack.enter_async_context(pages.one_more(of(number)))
        for _ in range(2):
            with pytest.raises(PbxBusy) as refused:
                await stack.enter_async_context(pages.one_more(of("3")))
            assert (refused.value.status, refused.value.retry_after_s) == (503, 1.0)
        await stack.enter_async_context(pages.one_more(of("3", OTHER)))
    async with pages.one_more(of("3")):
        pass


async def test_an_enterprise_is_read_once_at_once_on_any_host(pages: UnderWay) -> None:
    """Its own limit is told as such."""
    async with pages.one_more(of("1")):
        with pytest.raises(LimitExceeded):
            await pages.one_more(of("1", OTHER)).__aenter__()
    async with pages.one_more(of("1", OTHER)):
        pass


async def test_who_waits_for_a_host_gets_its_turn(pages: UnderWay) -> None:
    """In the order of coming, one of each enterprise; who goes away is in nobody's way."""
    read = list[str]()

    async def read_page(number: str) -> None:
        async with pages.one_more(of(number), wait_s=60):
            read.append(number)

    async with pages.one_more(of("1")):
        async with pages.one_more(of("2")):
            waiting = [asyncio.create_task(read_page(number)) for number in ("3", "4", "3", "5")]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            waiting[1].cancel()
            await asyncio.gather(waiting[1], return_exceptions=True)
            assert read == []
        await asyncio.gather(*waiting, return_exceptions=True)
    assert read == ["3", "5", "3"]


async def test_nothing_is_kept_of_who_is_gone(pages: UnderWay) -> None:
    """Neither of an enterprise nor of its host."""
    async with pages.one_more(of("1")):
        assert repr(pages) != "<UnderWay {}>"
    assert repr(pages) == "<UnderWay {}>"
    assert pages._hosts is not None
    assert repr(pages._hosts) == "{}"


async def test_all_enterprises_together_have_a_limit_too() -> None:
    """Whoever comes beyond it is told so, though its own limit is far."""
    waits = UnderWay(5, "too many of its own", most_in_all=2)
    async with AsyncExitStack() as stack:
        for number in ("1", "2"):
            await stack.enter_async_context(waits.one_more(of(number)))
        with pytest.raises(LimitExceeded, match="in all"):
            await stack.enter_async_context(waits.one_more(of("3")))
    async with waits.one_more(of("3")):
        pass


async def test_on_aws_no_wait_is_longer_than_five_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that waits serves nobody else; whoever asked for more is told what he has."""
    assert granted_wait_s(25.0) == 25.0
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "calls-dev-calls")
    assert [granted_wait_s(asked) for asked in (0.0, 3.0, 25.0)] == [0.0, 3.0, 5.0]
    app = FastAPI()
    app.state.request_timeout_s = 27.0
    request = Request({"type": "http", "headers": [], "app": app})
    dialler = await collect_dialler(request, "secret", None, None, "wait=25")
    assert placed_headers(None, dialler.wishes)["Preference-Applied"] == "wait=5"
