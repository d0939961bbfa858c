"""What the service knows of a PBX, for whoever watches over it."""

from __future__ import annotations

import pytest

from shared.pbx.hosts import the_pbx
from tests.integration.service import SSH_PASSWORD, Service, Services

pytestmark = pytest.mark.anyio

HOST = "127.0.0.1"


async def test_before_the_first_call_nothing_is_known(service: Service) -> None:
    """Asking for it connects nothing."""
    state = the_pbx().state(HOST)
    assert (state.transport, state.version, state.host_key) == (None, None, None)
    assert (state.latencies_ms, state.breaker, state.last_error) == ((), None, None)
    assert (state.gate.leased, state.gate.waiting) == (0, 0)
    assert service.pbx.connections == 0


async def test_a_reached_host_tells_how(service: Service) -> None:
    """Its transport, Asterisk's version, what the exchanges took, and the key it has shown."""
    assert (await service.call()).status_code == 200
    state = the_pbx().state(HOST)
    assert state.transport == "socket"
    assert state.version == "16.28.0~dfsg-0+deb11u4"
    assert len(state.latencies_ms) >= 2
    assert all(taken > 0 for taken in state.latencies_ms)
    assert (state.host_key or "").startswith("SHA256:")
    assert (state.breaker, state.last_error, state.gate.leased) == (None, None, 0)
    assert SSH_PASSWORD not in repr(state)


async def test_a_socket_that_is_refused_is_told(service: Service) -> None:
    """By exec, and why: the last error is that of the socket."""
    service.pbx.refuse_forwarding = True
    assert (await service.call()).status_code == 200
    state = the_pbx().state(HOST)
    assert state.transport == "exec"
    assert state.last_error is not None
    assert state.last_error.code == "asterisk-socket-refused"


async def test_a_host_that_is_away_is_told(start: Services) -> None:
    """The breaker holds the failure for which nobody connects just now."""
    service = await start(SSH_PASSWORD="wrong")
    assert (await service.call()).status_code == 500
    state = the_pbx().state(HOST)
    assert state.transport is None
    assert state.breaker is not None
    assert state.breaker.code == "ssh-authentication-failed"
    assert state.breaker.ago_s >= 0
