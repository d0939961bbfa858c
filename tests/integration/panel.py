"""A browser at the panel, as far as a test needs one."""

from __future__ import annotations

import re
from dataclasses import dataclass

import httpx

from tests.integration.service import Service

TOKEN = "panel-4a1f9c0d77be"
ORIGIN = "http://service"


def browser(service: Service, address: str = "192.0.2.7") -> httpx.AsyncClient:
    """Make a browser, not logged in; whoever asks closes it."""
    transport = httpx.ASGITransport(
        service.app, client=(address, 40_000), raise_app_exceptions=False
    )
    headers = {"Accept-Language": "en"}
    return httpx.AsyncClient(transport=transport, base_url=ORIGIN, headers=headers)


@dataclass
class Visitor:
    """Somebody who is logged in."""

    http: httpx.AsyncClient

    async def see(self, path: str) -> str:
        """Open a page; its text."""
        answer = await self.http.get(f"/admin{path}")
        assert answer.status_code == 200, answer.text
        return answer.text

    async def csrf(self) -> str:
        """Read what each form of this session carries."""
        match = re.search(r'name="csrf" value="([0-9a-f]{64})"', await self.see(""))
        assert match
        return match[1]

    async def send(self, path: str, **fields: str) -> httpx.Response:
        """Send a form as a page of the panel does."""
        form = {"csrf": await self.csrf()} | fields
        return await self.http.post(f"/admin{path}", data=form, headers={"Origin": ORIGIN})


async def log_in(http: httpx.AsyncClient, token: str = TOKEN, **headers: str) -> httpx.Response:
    """Send the log-in form."""
    headers = {"Origin": ORIGIN} | headers
    return await http.post("/admin/log-in", data={"token": token}, headers=headers)


async def visit(http: httpx.AsyncClient) -> Visitor:
    """Log in."""
    assert (await log_in(http)).status_code == 303
    return Visitor(http)
