"""Other ways of placing the same call, as services of their own, to measure beside ours.

    uvicorn bench.alternatives:specification   sshpass and ssh for each request
    uvicorn bench.alternatives:connecting      an SSH connection of asyncssh's for each
    uvicorn bench.alternatives:pooled          `asterisk -rx` over an SSH connection that is kept
    uvicorn bench.alternatives:ari             Asterisk's REST interface
    uvicorn bench.alternatives:ami             a persistent AMI connection
    uvicorn bench.alternatives:ami_following   likewise, and calls followed by its events

All ask the same database by the same module. But for the first, which does what the specification's
text does, they admit and settle as ours does, so that only the way to Asterisk differs. Their
settings are ours, and AMI_PORT, ARI_PORT. What ARI and AMI need is a change on the PBX.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

import asyncssh
import httpx
from fastapi import FastAPI, HTTPException

from bench.ami import Ami, Following
from shared.asterisk.models import CallOrder, Extension, Phone
from shared.auth import admission
from shared.auth.caller import Caller
from shared.calls.settling import the_settler
from shared.deadline import Deadline
from shared.settings import the_settings
from shared.store.database import the_database

_SELECT = "SELECT number, name, ip FROM public.enterprises WHERE secret = :secret AND active = true"
# Of ten sessions that sshd takes by default.
_SESSIONS = 8
# Places a call on a host: of an extension, to a number, by an id. Raises whatever went wrong.
Originate: TypeAlias = Callable[[str, str, str, uuid.UUID], Awaitable[None]]

specification = FastAPI()


@specification.get("/api/makecallexternal")
async def by_sshpass(code: str, phone: str, clientId: str) -> dict[str, object]:  # noqa: N803
    """Do what the specification's text does, but for the password, which `-e` keeps out of `ps`."""
    settings = the_settings()
    rows = await the_database().run(_SELECT, secret=clientId)
    if not rows:
        raise HTTPException(401, "Invalid clientId")
    process = await asyncio.create_subprocess_exec(
        *("sshpass", "-e", "ssh", "-p", str(settings.ssh_port)),
        *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
        *("-o", "ConnectTimeout=10", "-o", "LogLevel=ERROR"),
        *("-o", "PreferredAuthentications=password"),
        f"{settings.ssh_user}@{rows[0]['ip']}",
        _shell(code, phone),
        env={**os.environ, "SSHPASS": settings.ssh_password.get_secret_value()},
        stdout=asyncio.subprocess.DEVNULL,
    )
    if await process.wait():
        raise HTTPException(500, "Call initiation failed")
    return {"success": True}


def _shell(code: str, phone: str) -> str:
    context = the_settings().dialplan_context
    command = f"channel originate LOCAL/{code}@{context} application Dial LOCAL/{phone}@{context}"
    return f"asterisk -rx {shlex.quote(command)}"


async def _by_connecting(host: str, code: str, phone: str, _call_id: uuid.UUID) -> None:
    async with await _connect(host) as connection:
        await connection.run(_shell(code, phone), check=True)


_pool: dict[str, asyncio.Task[asyncssh.SSHClientConnection]] = {}
_sessions: dict[str, asyncio.Semaphore] = {}


async def _by_exec(host: str, code: str, phone: str, _call_id: uuid.UUID) -> None:
    if host not in _pool:
        _pool[host] = asyncio.create_task(_connect(host))
    connection = await _pool[host]
    async with _sessions.setdefault(host, asyncio.Semaphore(_SESSIONS)):
        await connection.run(_shell(code, phone), check=True)


async def _connect(host: str) -> asyncssh.SSHClientConnection:
    settings = the_settings()
    return await asyncssh.connect(
        host,
        settings.ssh_port,
        username=settings.ssh_user,
        password=settings.ssh_password.get_secret_value(),
        known_hosts=None,
        config=None,
        client_keys=None,
        preferred_auth="password",
    )


_ari: list[httpx.AsyncClient] = []


@asynccontextmanager
async def _with_ari(_app: FastAPI) -> AsyncGenerator[None]:
    url = f"http://127.0.0.1:{os.environ['ARI_PORT']}/ari"
    async with httpx.AsyncClient(base_url=url, auth=("lab", "lab")) as client:
        _ari.append(client)
        yield


async def _by_ari(_host: str, code: str, phone: str, _call_id: uuid.UUID) -> None:
    """Send the extension to the number's own extension: ARI has no application but Stasis."""
    context = the_settings().dialplan_context
    where = {"endpoint": f"Local/{code}@{context}", "extension": phone, "context": context}
    (await _ari[0].post("/channels", params=where)).raise_for_status()


_ami: list[Ami] = []
_following: list[Following] = []


@asynccontextmanager
async def _with_ami(_app: FastAPI) -> AsyncGenerator[None]:
    _ami.append(await Ami.connect())
    yield
    _ami[0].close()


@asynccontextmanager
async def _with_ami_events(_app: FastAPI) -> AsyncGenerator[None]:
    following = Following(the_database(), "127.0.0.1")
    _following.append(following)
    _ami.append(await Ami.connect(following.hear))
    yield
    _ami[0].close()
    following.close()


async def _by_ami(_host: str, code: str, phone: str, call_id: uuid.UUID) -> None:
    context = the_settings().dialplan_context
    ids = {"ChannelId": f"bench-{call_id}", "OtherChannelId": f"bench-{call_id}-2"}
    if _following:
        _following[0].begin(ids["ChannelId"], call_id)
    response = await _ami[0].send(
        Action="Originate",
        Channel=f"Local/{code}@{context}",
        Application="Dial",
        Data=f"Local/{phone}@{context}",
        Async="true",
        **(ids if _following else {}),
    )
    if response["Response"] != "Success":
        raise ConnectionError(response.get("Message"))


def _service(originate: Originate, lifespan: Callable[[FastAPI], object] | None = None) -> FastAPI:
    """Make a service that admits, originates and settles."""
    app = FastAPI(lifespan=lifespan)  # type: ignore[arg-type] # a context manager, as Starlette wants

    @app.get("/api/makecallexternal")
    async def place(code: str, phone: str, clientId: str) -> dict[str, object]:  # noqa: N803
        settings, database = the_settings(), the_database()
        admitted = await admission.admit(
            database,
            settings,
            Caller(clientId, None, Deadline.after(settings.request_timeout_s)),
            CallOrder(Extension(code), Phone(phone)),
            call_id=uuid.uuid4(),
            idempotency_key=None,
        )
        try:
            await originate(admitted.host, code, phone, admitted.call_id)
        except (OSError, asyncssh.Error, httpx.HTTPError) as error:
            raise HTTPException(500, f"Call initiation failed: {error}") from error
        await the_settler().settle_accepted(admitted, admission.Settlement("executed"))
        return {"success": True, "call_id": str(admitted.call_id)}

    return app


connecting = _service(_by_connecting)
pooled = _service(_by_exec)
ari = _service(_by_ari, _with_ari)
ami = _service(_by_ami, _with_ami)
ami_following = _service(_by_ami, _with_ami_events)
