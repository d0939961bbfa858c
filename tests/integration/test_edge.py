"""What stands before the API on AWS is known by a secret, and nobody comes round it."""

from __future__ import annotations

import hmac

import httpx
import pytest

from shared.aws.logins import the_secrets_provider
from tests.integration.service import SECRET, Service, Services
from tests.integration.vault import Vault

pytestmark = pytest.mark.anyio

ONE, OTHER = "edge-0123456789abcdef", "edge-fedcba9876543210"


async def guarded(start: Services, vault: Vault, **secret: str) -> Service:
    """Start a service behind an edge."""
    return await start(ORIGIN_SECRET_ARN=vault.put("edge", **secret))


async def ask(service: Service, *shown: str, path: str = "/health", **more: str) -> httpx.Response:
    """Ask as the edge does, with what it shows."""
    headers = [*(("X-Origin-Secret", one) for one in shown), *more.items()]
    return await service.http.get(path, headers=headers)


async def test_who_comes_round_the_edge_is_refused(start: Services, vault: Vault) -> None:
    """On every path, with the right clientId too; nothing is dialled, and no token is taken."""
    service = await guarded(start, vault, current=ONE)
    for shown in ((), ("",), (ONE[:-1],), (ONE + "x",), (ONE.upper(),), (ONE, ONE)):
        for path in ("/health", "/api/status", "/api/makecallexternal?code=150&phone=151", "/no"):
            answer = await ask(service, *shown, path=path)
            assert (answer.status_code, answer.json()["code"]) == (403, "not-through-edge"), shown
    assert service.originates() == []
    assert service.tokens() == []
    assert (await ask(service, ONE)).status_code == 200
    assert (await ask(service, ONE, path="/api/calls")).status_code == 200


async def test_two_values_are_taken_while_one_is_changed(start: Services, vault: Vault) -> None:
    """First both are known, then the edge shows the new one, then the old one is known no more."""
    service = await guarded(start, vault, current=ONE)
    assert (await ask(service, OTHER)).status_code == 403
    for secret, taken in (
        ({"current": ONE, "next": OTHER}, {ONE, OTHER}),
        ({"current": OTHER}, {OTHER}),
    ):
        vault.put("edge", **secret)
        the_secrets_provider().clear_cache()  # as after SECRETS_MAX_AGE_S
        answers = {one: (await ask(service, one)).status_code for one in (ONE, OTHER)}
        assert {one for one, status in answers.items() if status == 200} == taken


async def test_every_value_is_compared_to_its_end(
    start: Services, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the comparison that takes as long whatever it finds, also after one has matched."""
    compared: list[bytes] = []
    digests_match = hmac.compare_digest

    def compare(given: bytes, known: bytes) -> bool:
        compared.append(known)
        return digests_match(given, known)

    service = await guarded(start, vault, current=ONE, next=OTHER)
    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert (await ask(service, ONE)).status_code == 200
    assert compared == [ONE.encode(), OTHER.encode()]


async def test_a_secret_that_cannot_be_read_opens_nothing(start: Services, vault: Vault) -> None:
    """503 until it can; too short a value is none."""
    service = await guarded(start, vault, current="short")
    answer = await ask(service, "short")
    assert (answer.status_code, answer.json()["code"]) == (503, "origin-secret-unreadable")
    assert "short" not in answer.text + service.log()
    vault.put("edge", current=ONE)
    the_secrets_provider().clear_cache()
    assert (await ask(service, ONE)).status_code == 200


async def test_the_client_is_whom_the_edge_names(start: Services, vault: Vault) -> None:
    """So that wrong secrets count as that client's; of nobody else is it believed."""
    service = await guarded(start, vault, current=ONE)
    wrong = {"Authorization": "Bearer nobody-has-this-one"}
    for named in ("198.51.100.7", "2001:db8::7", "no address"):
        answer = await ask(service, ONE, path="/api/calls", **wrong, **{"X-Viewer-Address": named})
        assert answer.status_code == 401
    keys = {row["key"] for row in service.tokens()}
    assert keys == {"a:198.51.100.7", "a:2001:db8::/64", "a:127.0.0.1"}


async def test_without_a_secret_nothing_is_asked_for(service: Service) -> None:
    """And whom a header names is nobody."""
    answer = await service.http.get(
        "/api/calls", headers={"Authorization": f"Bearer no-{SECRET}", "X-Viewer-Address": "::1"}
    )
    assert answer.status_code == 401
    assert [row["key"] for row in service.tokens()] == ["a:127.0.0.1"]
