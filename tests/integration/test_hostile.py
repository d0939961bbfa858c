"""What a hostile or clumsy caller sends: a clear refusal, and nothing of it reaches a PBX."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from shared.http.fields import PHONE_IN_URL_PATTERN
from tests.integration.service import PHONE, ROOT, SECRET, Service, environment, run_process
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

OPERATE = (ROOT / "docs" / "operate.md").read_text("utf-8")
EXTENSION = re.compile(r"[0-9]{1,10}")
NUMBER = re.compile(PHONE_IN_URL_PATTERN)

bounded = settings(
    max_examples=60,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

SHELLISH = " \"'`$();&|<>\\\n\r\t\0!#*?~%@,/=-_+.:{}[]0123456789"
NASTY_BYTES = st.one_of(
    st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.text(alphabet=SHELLISH, max_size=40).map(str.encode),
    st.from_regex(r"[+]?[0-9]{0,22}[ \n@&,]?", fullmatch=True).map(str.encode),
    st.binary(max_size=40),
)

# What each looks like in a URL.
NASTIES = {
    "empty": "",
    "a second local channel": quote("150&Local/666@inoffice", safe=""),
    "an argument of Dial": quote("150,30,g", safe=""),
    "another context": quote("150@park", safe=""),
    "double quotes": quote('150"; core stop now; "', safe=""),
    "single quotes": quote("150'; reboot; '", safe=""),
    "a space": "150%20application%20System",
    "a NUL": "150%00core%20stop%20now",
    "a newline": "150%0A",
    "a carriage return": "150%0D",
    "Arabic digits": quote("١٥٠"),
    "full-width digits": quote("１５０"),
    "a superscript": quote("15²"),
    "a variable": quote("${EXTEN}"),
    "a pattern": quote("_X."),
    "5,000 digits": "1" * 5_000,
    "broken UTF-8": "150%FF",
    "a percent sign": "150%",
}

PARAMETERS = [
    ("/api/makecallexternal", "code", "phone=%2B375296254070"),
    ("/api/makecallexternal", "phone", "code=150"),
    ("/api/monitor", "action", "target=150&monitor_from=151"),
    ("/api/monitor", "target", "action=09&monitor_from=151"),
    ("/api/monitor", "monitor_from", "action=09&target=150"),
]


def _is_untouched(service: Service) -> bool:
    return not (service.pbx.connections or service.pbx.commands or service.pbx.invites)


async def _get(service: Service, path: str, query: str) -> tuple[int, list[str]]:
    """Ask; return the status and the fields that were refused."""
    answer = await service.http.get(f"{path}?{query}")
    body = answer.json()
    assert isinstance(body.get("detail", ""), str)
    return answer.status_code, [error["field"] for error in body.get("errors", ())]


@pytest.mark.parametrize("nasty", NASTIES.values(), ids=NASTIES)
async def test_a_nasty_value_is_refused_by_name(service: Service, nasty: str) -> None:
    """In any parameter it is 422 that names it; no PBX is asked and nothing is recorded."""
    for path, field, others in PARAMETERS:
        answer = await service.http.get(f"{path}?{field}={nasty}&{others}")
        body = answer.json()
        assert (answer.status_code, body["code"]) == (422, "invalid-parameter")
        assert body["dialled"] == "no"
        assert body["detail"].startswith(f"{field}: ")
        assert [error["field"] for error in body["errors"]] == [field]
        assert len(answer.content) < 2_000
    assert _is_untouched(service)
    assert service.calls() == []


@pytest.mark.parametrize(
    "value", ["150&151", "1/5", "150\0", "150\n", "١٥٠", "1" * 10_000, "", 150, None, [], {}, True]
)
async def test_a_nasty_body_is_refused_by_name(service: Service, value: object) -> None:
    """`POST /api/calls` refuses the same, and anything that is not a text."""
    for field in ("from", "to"):
        answer = await service.http.post(
            "/api/calls", json={"from": "150", "to": PHONE, field: value}
        )
        assert answer.status_code == 422
        assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert _is_untouched(service)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'"150"', b"null", b"\xff\xfe", b"[" * 16_000, b"[1]" * 5_000]
)
async def test_a_body_that_is_no_order_is_refused(service: Service, body: bytes) -> None:
    """Broken, foreign or deeply nested bodies are a caller's error, never ours."""
    answer = await service.http.post(
        "/api/calls", content=body, headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-parameter")
    assert [error["field"] for error in answer.json()["errors"]] == ["body"]
    assert answer.json()["dialled"] == "no"
    assert _is_untouched(service)


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_huge_body_is_not_read(service: Service, *, chunked: bool) -> None:
    """Over 16 KiB, announced or not: 413 in the one error body, and no error in the log."""
    sent = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1_000):
            sent += 1_000
            yield b" " * 1_000

    headers = {"Content-Type": "application/json"}
    if not chunked:
        headers["Content-Length"] = "1000000"
    answer = await service.http.post("/api/calls", content=chunks(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "body-too-large")
    assert answer.json()["dialled"] == "no"
    assert sent < 20_000
    assert "ERROR" not in service.log()
    assert _is_untouched(service)


async def _ask_for(url: str, target: bytes) -> bytes:
    """Send a request with any bytes for its target; return the whole answer."""
    port = int(url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    answer = bytearray()
    with contextlib.suppress(ConnectionError):  # it was ended before all was sent
        while chunk := await reader.read(65_536):
            answer += chunk
    writer.close()
    return bytes(answer)


async def test_a_huge_target_stops_nobody(postgres: Postgres, tmp_path: Path) -> None:
    """60,000 marks are 414 in the one error body; the next is answered; no secret is told."""
    secret = SECRET.encode()
    async with run_process(tmp_path, environment(postgres, 1, "")) as process:
        for marks in (b"?", b"&", b"=", b"%", b"+", b";", b"?&=%+;", b"&a=", b"?a", b";clientId="):
            target = b"/health?" + marks * (60_000 // len(marks)) + b"&clientId=" + secret
            answer = await _ask_for(process.url, target)
            head, _, body = answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 414 ")
            assert b"x-request-id: " in head.lower()
            problem = json.loads(body)
            assert (problem["code"], problem["dialled"]) == ("target-too-long", "no")
        for size in (9_000, 70_000, 1_000_000):
            answer = await _ask_for(process.url, b"/x?clientId=" + secret + b"?" * size)
            assert answer.startswith(b"HTTP/1.1 414 ")
        async with httpx.AsyncClient(base_url=process.url, timeout=30) as http:
            assert (await http.get("/health")).status_code == 200
    output = process.output.read_text("utf-8")
    assert output.count(" - 414 target-too-long") == 13
    assert "Traceback" not in output
    assert SECRET not in output
    assert max(map(len, output.splitlines())) < 1_200


async def test_the_readme_s_uvicorn_line_serves(postgres: Postgres, tmp_path: Path) -> None:
    """With its flags the app is served, by the parser that takes no request in two ways."""
    (line,) = re.findall(r"^\$ (uvicorn asterisk:app .+)$", OPERATE, re.MULTILINE)
    arguments = ("-m", *line.split())
    settings = environment(postgres, 1, "")
    async with run_process(tmp_path, settings, arguments=arguments) as process:
        both = b"/health HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\nX:"
        assert (await _ask_for(process.url, both)).startswith(b"HTTP/1.1 400 ")
        answer = (await _ask_for(process.url, b"/health")).lower()
        assert answer.startswith(b"http/1.1 200 ")
        assert b"\r\nx-content-type-options: nosniff\r\n" in answer
        assert b"\r\nserver:" not in answer


async def test_a_plus_that_became_a_space_says_so(service: Service) -> None:
    """An unencoded `+` arrives as a space: 422 that tells to encode it."""
    answer = await service.http.get("/api/makecallexternal?code=150&phone=+375296254070")
    assert answer.status_code == 422
    assert "encode + as %2B" in answer.json()["detail"]
    assert _is_untouched(service)


async def test_missing_parameters_are_all_named(service: Service) -> None:
    """Without parameters the answer names each, and what it must be."""
    assert await _get(service, "/api/makecallexternal", "") == (422, ["code", "phone"])
    expected = ["action", "target", "monitor_from"]
    assert await _get(service, "/api/monitor", "") == (422, expected)
    assert _is_untouched(service)


@bounded
@given(code=NASTY_BYTES, phone=NASTY_BYTES)
@example(code=b"7", phone=PHONE.encode())
async def test_no_text_breaks_a_call(service: Service, code: bytes, phone: bytes) -> None:
    """Any `code` and `phone`: never 5xx; what is no number never reaches the PBX."""
    query = f"code={quote(code, safe='')}&phone={quote(phone, safe='')}"
    await _assert_clean(
        service,
        "/api/makecallexternal",
        query,
        valid=_matches(EXTENSION, code) and _matches(NUMBER, phone),
    )


@bounded
@given(target=NASTY_BYTES, supervisor=NASTY_BYTES, action=NASTY_BYTES)
async def test_no_text_breaks_a_monitoring(
    service: Service, target: bytes, supervisor: bytes, action: bytes
) -> None:
    """Any `action`, `target` and `monitor_from`: never 5xx; the PBX hears of valid ones alone."""
    query = (
        f"action={quote(action, safe='')}&target={quote(target, safe='')}"
        f"&monitor_from={quote(supervisor, safe='')}"
    )
    valid = (
        action in {b"09", b"01", b"02"}
        and _matches(EXTENSION, target)
        and _matches(EXTENSION, supervisor)
    )
    await _assert_clean(service, "/api/monitor", query, valid=valid)


@bounded
@given(secret=NASTY_BYTES)
@example(secret=b"\0")
@example(secret=b"' OR '1'='1")
@example(secret=SECRET.encode() + b" ")
@example(secret=SECRET.upper().encode())
async def test_no_text_is_a_secret(service: Service, secret: bytes) -> None:
    """Any other `clientId`: 401, and no PBX is asked."""
    query = f"code=150&phone=%2B375296254070&clientId={quote(secret, safe='')}"
    answer = await service.http.get(f"/api/makecallexternal?{query}", headers={"Authorization": ""})
    assert (answer.status_code, answer.json()["detail"]) == (401, "Invalid clientId")
    assert _is_untouched(service)


@bounded
@given(key=st.binary(max_size=300))
@example(key=b"")
@example(key=b"k" * 256)
@example(key=b"\xff")
async def test_no_idempotency_key_breaks_a_call(service: Service, key: bytes) -> None:
    """Any Idempotency-Key: used if it is visible ASCII, else 422; never 5xx."""
    if b"\r" in key or b"\n" in key or b"\0" in key:
        return  # no HTTP server lets these through
    answer = await service.http.get(
        "/api/makecallexternal?code=9&phone=1", headers=[(b"Idempotency-Key", key)]
    )
    assert answer.status_code == 422  # the extension is unknown, or the key is refused
    assert not service.originates()


@bounded
@given(
    body=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from(["from", "to", "x"]), inner, max_size=3)
        ),
        max_leaves=8,
    )
)
async def test_no_json_breaks_a_call(service: Service, body: object) -> None:
    """Any JSON: never 5xx, and no originate without two numbers."""
    answer = await service.http.post(
        "/api/calls",
        content=json.dumps(body),
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code < 500
    if answer.status_code == 422:
        assert isinstance(answer.json()["detail"], str)
        assert not service.originates()


def _matches(pattern: re.Pattern[str], value: bytes) -> bool:
    return pattern.fullmatch(value.decode("utf-8", "replace")) is not None


async def _assert_clean(service: Service, path: str, query: str, *, valid: bool) -> None:
    before = list(service.pbx.commands)
    answer = await service.http.get(f"{path}?{query}")
    assert answer.status_code in {200, 422}, answer.text
    if valid:
        allowed = re.compile(
            r"channel originate LOCAL/\d{1,10}@inoffice application "
            r"(Dial LOCAL/\+?\d{1,20}@inoffice|ChanSpy SIP/\d{1,10}-0,B?bqw?E)"
        )
        assert all(allowed.fullmatch(command) for command in service.originates())
    else:
        assert answer.status_code == 422
        assert service.pbx.commands == before
        assert not service.pbx.refused
