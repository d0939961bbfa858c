"""The log: the specification's lines, and no secret in it or anywhere else it could leak."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import httpx
import pytest

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
    r"(?P<level>INFO|WARNING|ERROR) - (?P<text>.+)"
)


def _lines(service: Service) -> list[tuple[str, str]]:
    """The log's levels and texts; every line has the specification's format."""
    found = [LINE.fullmatch(line) for line in service.log().splitlines()]
    assert None not in found, service.log()
    return [(match["level"], match["text"]) for match in found if match]


async def test_a_call_leaves_the_specification_s_four_lines(service: Service) -> None:
    """The four lines of the specification, in its words and format."""
    assert (await service.call()).status_code == 200
    assert _lines(service) == [
        ("INFO", f"🚀 Запрос на звонок: 150 -> {PHONE}, clientId: june-8d1..."),
        ("INFO", "✅ Клиент авторизован: june (0367)"),
        ("INFO", f"🔗 SSH подключение к 127.0.0.1: 150 -> {PHONE}"),
        ("INFO", f"✅ CLI команда выполнена на 127.0.0.1: 150 -> {PHONE}"),
    ]
    assert await service.rung("150") == 1


async def test_monitoring_and_repeats_are_logged(service: Service) -> None:
    """A monitoring has lines like a call's; a repeat says whose repeat it is."""
    call_id = (await service.monitor()).json()["call_id"]
    await service.monitor()
    texts = [text for _, text in _lines(service)]
    assert texts[0] == (
        "🎧 Запрос на мониторинг: 151 -> 150 (подслушивание), clientId: june-8d1..."
    )
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


async def test_a_wrong_secret_is_logged_cut(service: Service) -> None:
    """A refused secret is logged by its beginning alone, however short it is."""
    for secret in ("somebody-else-s-secret", "short"):
        headers = {"Authorization": f"Bearer {secret}"}
        await service.http.get(
            "/api/makecallexternal", params={"code": "150", "phone": PHONE}, headers=headers
        )
    warnings = [text for level, text in _lines(service) if level == "WARNING"]
    order = f"❌ 150 -> {PHONE}: Invalid clientId, clientId:"
    assert warnings == [f"{order} somebody...", f"{order} sh..."]


async def test_no_record_of_any_logger_holds_a_secret(start: Services) -> None:
    """Success, failure and refusal: no record of any logger, asyncssh's included, has a secret."""
    texts: list[str] = []

    class Keeps(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            texts.append(f"{record.getMessage()} {record.exc_info} {vars(record)}")

    service = await start(SSH_HOST_KEYS="off")
    handler = Keeps()
    ours = logging.getLogger("asterisk")
    roots = (logging.getLogger(), ours)
    for logger in roots:
        logger.addHandler(handler)
    levels = {name: logging.getLogger(name).level for name in ("", "asyncssh")}
    for name in levels:
        logging.getLogger(name).setLevel(logging.DEBUG)
    try:
        await service.call()
        service.pbx.asterisk_down = True
        await service.call("151")
        wrong = await start.on(service.pbx, SSH_PASSWORD=f"{SSH_PASSWORD}-wrong")
        await wrong.call("154")
        await wrong.http.get("/api/makecallexternal", params={"code": "x"})
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        for logger in roots:
            logger.removeHandler(handler)
    assert any("asyncssh" in text for text in texts)
    whole = "\n".join(texts)
    for secret in (SECRET, SSH_PASSWORD, PASSWORD):
        assert secret not in whole


async def test_a_real_process_tells_no_secret(postgres: Postgres, tmp_path: Path) -> None:
    """With the secret in the URL: not in uvicorn's access lines, the log, or the command line."""
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
    assert "clientId=***" in output
    assert "🚀 Запрос на звонок" in output
    assert "🚀 Запрос на звонок" in log_file.read_text("utf-8")
    assert pbx.invites["150"] == 1
    for secret in (SECRET, encoded, SSH_PASSWORD, PASSWORD):
        assert secret not in output + log_file.read_text("utf-8") + command_line
