"""What the service asks of AWS, as botocore would send it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from botocore.stub import Stubber

from shared.aws.clients import the_clients
from shared.following.wake import the_waker
from shared.process import forget_all
from tests.integration.service import forget_process

pytestmark = pytest.mark.anyio

FUNCTION = "calls-Tracker-7QK2"
HOST = "192.0.2.10"


@pytest.fixture
def functions(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stubber]:
    """Stand in for Lambda's API: it checks each request, and knows no other than expected ones."""
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.setenv(f"AWS_{name}", "made-up")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "calls-MakeCallExternal-2MZP")
    monkeypatch.setenv("TRACKER_FUNCTION", FUNCTION)
    monkeypatch.setenv("LOG_FILE", "")
    forget_process()
    with Stubber(the_clients().of("lambda")) as stubber:
        yield stubber
    forget_process()


def expect(functions: Stubber) -> None:
    """Expect the tracker's start, once."""
    request = {
        "FunctionName": FUNCTION,
        "InvocationType": "Event",
        "Payload": json.dumps({"host": HOST}).encode(),
    }
    functions.add_response("invoke", {"StatusCode": 202}, request)


async def test_tracker_is_invoked_without_waiting_for_it(
    functions: Stubber, caplog: pytest.LogCaptureFixture
) -> None:
    """TRACKER_FUNCTION gets an asynchronous invocation that names the host, once."""
    expect(functions)
    await the_waker().see_followed(HOST, tracked=False)
    functions.assert_no_pending_responses()
    assert caplog.text == ""


async def test_live_tracker_is_not_invoked_again(
    functions: Stubber, caplog: pytest.LogCaptureFixture
) -> None:
    """Only an idle host's first call pays for the invocation; any here would be an error."""
    await the_waker().see_followed(HOST, tracked=True)
    assert caplog.text == ""


async def test_without_a_tracker_nobody_is_invoked(
    functions: Stubber, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An empty TRACKER_FUNCTION means that nobody follows."""
    monkeypatch.setenv("TRACKER_FUNCTION", "")
    forget_all()
    await the_waker().see_followed(HOST, tracked=False)
    assert caplog.text == ""


async def test_failed_invocation_fails_no_call(
    functions: Stubber, caplog: pytest.LogCaptureFixture
) -> None:
    """A throttled or forbidden invocation is logged: the watchdog starts the tracker later."""
    functions.add_client_error("invoke", "TooManyRequestsException")
    await the_waker().see_followed(HOST, tracked=False)
    assert f"Трекер для {HOST} не запущен" in caplog.text
    assert "TooManyRequestsException" in caplog.text
