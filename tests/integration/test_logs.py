"""The log: the specification's lines, and no secret in it or anywhere else it could leak."""

from __future__ import annotations

import re
import ssl
from pathlib import Path

import httpx
import pytest

from shared.auth.strangers import the_strangers
from tests.certificate import make_certificate
from tests.integration.followed import BUSY, NO_ANSWER, TALKS_ON, follow, place, reach, state
from tests.integration.records import assert_no_secret, recording
from tests.integration.service import (
    PHONE,
    SECRET,
    SSH_PASSWORD,
    Service,
    Services,
    environment,
    make_pbx,
    run_process,
    seed,
    until,
)
from tests.postgres import PASSWORD, Postgres

pytestmark = pytest.mark.anyio

LINE = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - asterisk - "
    r"(?P<level>INFO|WARNING|ERROR) - (?P<text>.+?)"
    r"(?: \[request_id=(?P<request>\S+) call_id=(?P<call>\S+)\])?"
)


def _lines(service: Service) -> list[tuple[str, str]]:
    """The log's levels and texts but for the ends of requests; all in the specification's format.

    Each request that is kept has one such end: see test_request_ends.py.
    """
    found = [LINE.fullmatch(line) for line in service.log().splitlines()]
    assert None not in found, service.log()
    texts = [(match["level"], match["text"]) for match in found if match]
    return [(level, text) for level, text in texts if not text.startswith("🏁 ")]


async def test_a_call_leaves_the_specification_s_four_lines(service: Service) -> None:
    """The four lines of the specification, in its words and format."""
    assert (await service.call()).status_code == 200
    assert _lines(service) == [
        ("INFO", f"🚀 Запрос на звонок: 150 -> {PHONE}, clientId: june-..."),
        ("INFO", "✅ Клиент авторизован: june (0367)"),
        ("INFO", f"🔗 SSH подключение к 127.0.0.1: 150 -> {PHONE}"),
        ("INFO", f"✅ CLI команда выполнена на 127.0.0.1: 150 -> {PHONE}"),
    ]
    assert await service.rung("150") == 1


async def test_each_line_names_its_request_and_call(service: Service) -> None:
    """The id of the answer's header on every line, the call's once there is one; no other's."""
    placed = await service.call()
    repeat = await service.call()
    refused = await service.call(secret="somebody-else-s-secret")
    ids = [LINE.fullmatch(line) for line in service.log().splitlines()]
    call_id = placed.json()["call_id"]
    assert [(match["request"], match["call"]) for match in ids if match] == [
        (placed.headers["X-Request-Id"], "-"),
        *[(placed.headers["X-Request-Id"], call_id)] * 4,
        (repeat.headers["X-Request-Id"], "-"),
        *[(repeat.headers["X-Request-Id"], call_id)] * 3,
        *[(refused.headers["X-Request-Id"], "-")] * 2,
    ]
    assert await service.rung("150") == 1


async def test_hanging_up_names_its_call(start: Services) -> None:
    """The lines of a call's later requests name it as well; the tracker's own name no request."""
    service = await follow(start)
    call_id = await place(service, "154", TALKS_ON)
    await reach(service, call_id, "talking")
    answer = await service.http.delete(f"/api/calls/{call_id}")
    (line,) = (line for line in service.log().splitlines() if "📴" in line)
    assert line.endswith(f"[request_id={answer.headers['X-Request-Id']} call_id={call_id}]")
    await reach(service, await place(service, "156", TALKS_ON), "talking")
    service.pbx.asterisk_down = True
    await until(lambda: "Трекер 127.0.0.1" in service.log())
    lines = [line for line in service.log().splitlines() if "Трекер 127.0.0.1" in line]
    assert not [line for line in lines if "request_id" in line]


async def test_an_end_has_a_line(start: Services) -> None:
    """With its outcome, the seconds of talk and the id of the call, once; no request's id.

    As it is told to whoever asks: what the API has ended is cancelled.
    """
    service = await follow(start)
    busy = await place(service, "150", BUSY)
    talked = await place(service, "154", TALKS_ON)
    await reach(service, talked, "talking")
    ended = await place(service, "156", NO_ANSWER)
    await reach(service, ended, "customer_ringing")
    assert (await service.http.delete(f"/api/calls/{ended}")).status_code == 200
    assert (await service.http.delete(f"/api/calls/{talked}")).status_code == 200
    await until(lambda: service.log().count("🔚") == 3)
    calls = {call_id: await state(service, call_id) for call_id in (busy, talked, ended)}
    assert [call["reason"] for call in calls.values()] == ["busy", "answered", "cancelled"]
    found = [LINE.fullmatch(line) for line in service.log().splitlines() if "🔚" in line]
    for match, (call_id, call) in zip(
        sorted(filter(None, found), key=lambda match: match["call"]),
        sorted(calls.items()),
        strict=True,
    ):
        assert (match["level"], match["request"], match["call"]) == ("INFO", "-", call_id)
        assert match["text"] == (
            f"🔚 Звонок окончен на 127.0.0.1: {call['from']} -> {call['to']}, {call['reason']},"
            f" разговор {call['talk_s']} с"
        )


async def test_monitoring_and_repeats_are_logged(service: Service) -> None:
    """A monitoring has lines like a call's; a repeat says whose repeat it is."""
    call_id = (await service.monitor()).json()["call_id"]
    await service.monitor()
    texts = [text for _, text in _lines(service)]
    assert texts[0] == ("🎧 Запрос на мониторинг: 151 -> 150 (подслушивание), clientId: june-...")
    assert texts[3] == "✅ CLI команда выполнена на 127.0.0.1: 151 -> 150 (подслушивание)"
    assert texts[-1] == f"🔁 Повтор звонка {call_id}: 151 -> 150 (подслушивание)"
    assert await service.rung("151") == 1


async def test_a_failure_is_logged_with_its_cause(service: Service) -> None:
    """A failed call's last line is an error that names the call, the host and the cause."""
    service.pbx.asterisk_down = True
    await service.call()
    level, text = _lines(service)[-1]
    assert level == "ERROR"
    assert text.startswith(f"❌ 150 -> {PHONE} на 127.0.0.1: Asterisk ")
    assert service.pbx.invites.total() == 0


async def test_a_wrong_secret_is_not_logged(service: Service) -> None:
    """Where it came from is, and nothing of it: it may be a right one of elsewhere."""
    for number, secret in enumerate(("somebody-else-s-secret", "short")):
        async with service.from_address(f"192.0.2.{number}") as stranger:
            headers = {"Authorization": f"Bearer {secret}"}
            await stranger.get(f"/api/calls/{'0' * 32}", headers=headers)
    assert _lines(service) == [
        ("WARNING", "❌ Неверный clientId с адреса 192.0.2.0"),
        ("WARNING", "❌ Неверный clientId с адреса 192.0.2.1"),
    ]


async def test_wrong_secrets_cost_the_log_one_line(start: Services) -> None:
    """One a window and address, whatever is asked, for 401 and 429; each is answered."""
    service = await start(RATE_LIMIT_ADDRESS="3/60")
    call = f"/api/makecallexternal?code=150&phone=1&clientId={'w' * 20}"
    asked = (call, call, f"/api/calls?clientId={'v' * 20}", call, call)

    async def ask(address: str) -> list[int]:
        async with service.from_address(address) as stranger:
            return [(await stranger.get(url)).status_code for url in asked]

    assert await ask("192.0.2.1") == [401, 401, 401, 429, 429]
    assert await ask("2001:db8::1") == [401, 401, 401, 429, 429]
    assert await ask("2001:db8::9:9") == [429] * 5  # the same subscriber's
    assert await ask("::ffff:192.0.2.1") == [429] * 5  # the first one, written otherwise
    assert _lines(service) == [
        ("WARNING", "❌ Неверный clientId с адреса 192.0.2.1"),
        ("WARNING", "❌ Неверный clientId с адреса 2001:db8::/64"),
    ]
    clock = the_strangers()._clock
    the_strangers()._clock = lambda: clock() + 61
    await ask("192.0.2.1")
    (*_, (_, last)) = _lines(service)
    assert last == "❌ Неверный clientId с адреса 192.0.2.1; до этого без записи: 9"
    assert service.calls() == []


async def test_no_record_of_any_logger_holds_a_secret(start: Services) -> None:
    """Success, failure and refusal: no record of any logger, asyncssh's included, has a secret."""
    service = await start(SSH_HOST_KEYS="off")
    with recording() as records:
        await service.call()
        service.pbx.asterisk_down = True
        await service.call("151")
        wrong = await start.on(service.pbx, SSH_PASSWORD=f"{SSH_PASSWORD}-wrong")
        await wrong.call("154")
        await wrong.http.get("/api/makecallexternal", params={"code": "x"})
    assert any("asyncssh" in record.text for record in records)
    assert_no_secret(records, SECRET, SSH_PASSWORD, PASSWORD)


async def test_a_real_process_tells_no_secret(postgres: Postgres, tmp_path: Path) -> None:
    """With the secret in the URL: not in the access lines, the log, or the command line."""
    seed(postgres)
    log_file = tmp_path / "asterisk_service.log"
    async with make_pbx() as pbx:
        settings = environment(postgres, pbx.port, str(log_file))
        async with (
            run_process(tmp_path, settings) as process,
            httpx.AsyncClient(base_url=process.url, timeout=30) as http,
        ):
            query = {"code": "150", "phone": PHONE, "clientId": SECRET}
            call = await http.get("/api/makecallexternal", params=query)
            assert call.status_code == 200
            await until(lambda: pbx.invites["150"] > 0)
            pbx.asterisk_down = True
            failed = await http.get("/api/makecallexternal", params=query | {"code": "151"})
            assert failed.status_code == 500
            encoded = SECRET.replace("j", "%6A")
            for address in (
                f"/api/makecallexternal?code=&clientId={encoded}",
                f"/nosuch?clientId={SECRET}&x=1",
                f"/api/monitor?client%49d={SECRET}",
            ):
                assert (await http.get(address)).status_code in {404, 422}
            command_line = process.command_line
    output = process.output.read_text("utf-8")
    assert output.count('"GET /api/makecallexternal?') == 3
    assert re.search(r' - INFO - 127\.0\.0\.1 "GET /health" 200, [\d.]+ мс \[request_id=', output)
    assert "HTTP/1.1" not in output  # uvicorn's own access lines
    assert "/health" not in log_file.read_text("utf-8")
    assert "clientId=***" in output
    request_id = call.headers["X-Request-Id"]
    assert [line for line in output.splitlines() if '" 200' in line and request_id in line], output
    assert "🚀 Запрос на звонок" in output
    assert "🚀 Запрос на звонок" in log_file.read_text("utf-8")
    assert pbx.invites["150"] == 1
    for secret in (SECRET, encoded, SSH_PASSWORD, PASSWORD):
        assert secret not in output + log_file.read_text("utf-8") + command_line


@pytest.mark.parametrize("served_by", ["itself", "itself, with TLS", "two processes", "uvicorn"])
async def test_whoever_serves_each_request_has_one_line_on_the_console(
    postgres: Postgres, tmp_path: Path, served_by: str
) -> None:
    """With its status, its milliseconds and its id; uvicorn's own line of it is not there."""
    settings = environment(postgres, 1, str(tmp_path / "asterisk_service.log"))
    arguments: tuple[str, ...] = ("asterisk.py",)
    if served_by == "itself, with TLS":
        file, key = map(str, make_certificate(tmp_path))
        settings |= {"TLS_CERT_FILE": file, "TLS_KEY_FILE": key}
    elif served_by == "two processes":
        settings |= {"SERVICE_WORKERS": "2"}
    elif served_by == "uvicorn":
        arguments = ("-m", "uvicorn", "asterisk:app", "--port", "8018", "--ws", "none")
    trusted = ssl.create_default_context(cafile=settings.get("TLS_CERT_FILE"))
    async with (
        run_process(tmp_path, settings, arguments=arguments) as process,
        httpx.AsyncClient(base_url=process.url, verify=trusted, timeout=30) as http,
    ):
        answer = await http.get("/health", params={"clientId": "hidden-one"})
    output = process.output.read_text("utf-8")
    (line,) = (line for line in output.splitlines() if answer.headers["X-Request-Id"] in line)
    match = LINE.fullmatch(line)
    assert match
    assert match["level"] == "INFO"
    assert re.fullmatch(
        r'127\.0\.0\.1 "GET /health\?clientId=\*\*\*" 200, \d+\.\d мс', match["text"]
    )
    assert " HTTP/1.1" not in output
