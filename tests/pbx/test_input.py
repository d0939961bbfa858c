"""Hostile and careless input, with a real PBX behind: refused by name, and nothing reaches it."""

from __future__ import annotations

import httpx
import pytest

from tests.pbx.lab import Lab
from tests.pbx.service import SECRET, TALKS, Phones, Services

pytestmark = pytest.mark.anyio

BAD_EXTENSIONS = {
    "a second channel": "150&SIP/1501",
    "a double quote": '150"',
    "a single quote": "150'",
    "a space at the begin": " 1501",
    "a NUL, which starts a second command": "150\0core stop now",
    "a newline": "150\n",
    "a carriage return": "150\r\n",
    "a tab": "\t150",
    "Arabic digits": "١٥٠",
    "full-width digits": "１５０",
    "8,000 characters": "1" * 8_000,
    "nothing": "",
    "a plus": "+150",
    "another context": "150@park",
    "a dialplan expression": "${EXTEN}",
    "a shell's command": "150;core stop now",
    "a shell's substitution": "$(reboot)",
    "a wildcard": "_1XX",
    "a minus": "-150",
    "an option": "150/n",
}
BAD_PHONES = BAD_EXTENSIONS | {
    "a plus": "++375290000001",
    "a plus that became a space": f" {TALKS[1:]}",
    "a plus at the end": "375290000001+",
    "only a plus": "+",
    "dial options": f"{TALKS},60,g",
    "21 digits": "1" * 21,
}
MISSING = [
    ("/api/makecallexternal", {"phone": TALKS}, "code"),
    ("/api/makecallexternal", {"code": "155"}, "phone"),
    ("/api/monitor", {"target": "150", "monitor_from": "151"}, "action"),
    ("/api/monitor", {"action": "09", "monitor_from": "151"}, "target"),
    ("/api/monitor", {"action": "09", "target": "150"}, "monitor_from"),
]


async def test_bad_input_is_refused_by_name_and_never_reaches_the_pbx(
    lab: Lab, phones: Phones, start: Services
) -> None:
    """422 names the one wrong field, `dialled` is `no`, and Asterisk is not even connected to."""
    service = await start()
    before = lab.calls_processed()
    mark = lab.log_mark()

    async def ask(path: str, params: dict[str, str]) -> httpx.Response:
        return await service.http.get(path, params=params | {"clientId": SECRET})

    asked: list[tuple[str, httpx.Response, str]] = []
    for what, text in BAD_EXTENSIONS.items():
        for path, params, field in (
            ("/api/makecallexternal", {"code": text, "phone": TALKS}, "code"),
            ("/api/monitor", {"action": "09", "target": text, "monitor_from": "151"}, "target"),
            (
                "/api/monitor",
                {"action": "09", "target": "150", "monitor_from": text},
                "monitor_from",
            ),
        ):
            asked.append((what, await ask(path, params), field))
        posted = await service.http.post(
            "/api/calls",
            json={"from": text, "to": TALKS},
            headers={"Authorization": f"Bearer {SECRET}"},
        )
        asked.append((what, posted, "from"))
    for what, text in BAD_PHONES.items():
        answer = await ask("/api/makecallexternal", {"code": "155", "phone": text})
        asked.append((what, answer, "phone"))
    for path, params, field in MISSING:
        asked.append(("missing", await ask(path, params), field))
    for action in ("03", "9", "", "listen", "٠٩", "09\n"):
        params = {"action": action, "target": "150", "monitor_from": "151"}
        asked.append((repr(action), await ask("/api/monitor", params), "action"))

    connections = [line for line in lab.log_since(mark) if "Remote UNIX connection" in line]
    for what, answer, field in asked:
        body = answer.json()
        assert (answer.status_code, what) == (422, what)
        assert ([error["field"] for error in body["errors"]], what) == ([field], what)
        assert (body["code"], body["dialled"]) == ("invalid-parameter", "no")
        assert isinstance(body["detail"], str)
        assert SECRET not in answer.text
    assert connections == []
    assert (lab.channels(), lab.calls_processed()) == ([], before)
    assert await phones.in_the_end() == {}
    assert service.calls() == []


async def test_a_plus_that_became_a_space_is_explained(phones: Phones, start: Services) -> None:
    """An unencoded + in a URL is a space: the answer says how to write it; written so, it rings."""
    service = await start()
    url = "/api/makecallexternal?code=155&clientId=" + SECRET

    wrong = await service.http.get(f"{url}&phone={TALKS}")
    right = await service.http.get(f"{url}&phone=%2B{TALKS[1:]}")

    assert (wrong.status_code, right.status_code) == (422, 200)
    assert "encode + as %2B" in wrong.json()["detail"]
    assert await phones.in_the_end() == {"155": 1}


@pytest.mark.parametrize("secret", ["", "wrong", SECRET + "x", SECRET[:-1], "' OR '1'='1", "x\0"])
async def test_a_wrong_secret_never_reaches_the_pbx(
    lab: Lab, phones: Phones, start: Services, secret: str
) -> None:
    """401, nothing dialled, and Asterisk is not even connected to."""
    service = await start()
    mark = lab.log_mark()

    params = {"code": "155", "phone": TALKS, "clientId": secret}
    answer = await service.http.get("/api/makecallexternal", params=params)

    assert (answer.status_code, answer.json()["detail"]) == (401, "Invalid clientId")
    assert not [line for line in lab.log_since(mark) if "Remote UNIX connection" in line]
    assert await phones.in_the_end() == {}
