"""Two other ways of placing the same call, as services of their own, to measure beside ours.

    uvicorn bench.alternatives:specification   sshpass and ssh for each request
    uvicorn bench.alternatives:ami             a persistent AMI connection: needs an AMI user on
                                               the PBX, which ours does not

Both authenticate against the same database; `ami` admits and settles as ours does, so that only
the way to Asterisk differs. Their settings are ours, and AMI_PORT, AMI_USER, AMI_PASSWORD.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shlex
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException

from shared.asterisk.models import CallOrder, Extension, Phone
from shared.auth import admission
from shared.auth.caller import Caller
from shared.deadline import Deadline
from shared.settings import the_settings
from shared.store.database import the_database

_SELECT = "SELECT number, name, ip FROM public.enterprises WHERE secret = :secret AND active = true"

specification = FastAPI()


@specification.get("/api/makecallexternal")
async def by_sshpass(code: str, phone: str, clientId: str) -> dict[str, object]:  # noqa: N803
    """Do what the specification's text does; the password stands in the argument list there."""
    settings = the_settings()
    rows = await the_database().run(_SELECT, secret=clientId)
    if not rows:
        raise HTTPException(401, "Invalid clientId")
    context = settings.dialplan_context
    command = f"channel originate LOCAL/{code}@{context} application Dial LOCAL/{phone}@{context}"
    process = await asyncio.create_subprocess_exec(
        *("sshpass", "-e", "ssh", "-p", str(settings.ssh_port)),
        *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
        *("-o", "ConnectTimeout=10", "-o", "LogLevel=ERROR"),
        f"{settings.ssh_user}@{rows[0]['ip']}",
        f"asterisk -rx {shlex.quote(command)}",
        env={**os.environ, "SSHPASS": settings.ssh_password.get_secret_value()},
    )
    if await process.wait():
        raise HTTPException(500, "Call initiation failed")
    return {"success": True}


class Ami:
    """One AMI connection; actions are matched to their responses by ActionID."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._ids = itertools.count()
        self._waiting: dict[str, asyncio.Future[dict[str, str]]] = {}
        self._listener = asyncio.create_task(self._listen())

    async def send(self, **fields: str) -> dict[str, str]:
        """Send an action and wait for its response."""
        action_id = str(next(self._ids))
        response = self._waiting[action_id] = asyncio.get_running_loop().create_future()
        lines = [f"{name}: {value}" for name, value in (fields | {"ActionID": action_id}).items()]
        self._writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        return await asyncio.wait_for(response, 10)

    async def _listen(self) -> None:
        await self._reader.readline()  # the greeting
        while block := await self._reader.readuntil(b"\r\n\r\n"):
            pairs = (line.partition(": ") for line in block.decode().splitlines() if line)
            message = {name: value for name, _, value in pairs}
            response = self._waiting.pop(message.get("ActionID", ""), None)
            if "Response" in message and response is not None:
                response.set_result(message)

    def close(self) -> None:
        """End it."""
        self._listener.cancel()
        self._writer.close()


_connections: list[Ami] = []


@asynccontextmanager
async def _connected(_app: FastAPI) -> AsyncGenerator[None]:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(os.environ["AMI_PORT"]))
    connection = Ami(reader, writer)
    await connection.send(
        Action="Login",
        Username=os.environ["AMI_USER"],
        Secret=os.environ["AMI_PASSWORD"],
        Events="off",
    )
    _connections.append(connection)
    yield
    connection.close()


ami = FastAPI(lifespan=_connected)


@ami.get("/api/makecallexternal")
async def by_ami(code: str, phone: str, clientId: str) -> dict[str, object]:  # noqa: N803
    """Admit, originate, settle."""
    settings, database = the_settings(), the_database()
    context = settings.dialplan_context
    order = CallOrder(Extension(code), Phone(phone))
    admitted = await admission.admit(
        database,
        settings,
        Caller(clientId, None, Deadline.after(settings.request_timeout_s)),
        order,
        call_id=uuid.uuid4(),
        idempotency_key=None,
    )
    response = await _connections[0].send(
        Action="Originate",
        Channel=f"Local/{code}@{context}",
        Application="Dial",
        Data=f"Local/{phone}@{context}",
        Async="true",
    )
    if response["Response"] != "Success":
        raise HTTPException(500, "Call initiation failed")
    settlement = admission.Settlement("executed")
    await admission.settle(database, settings, admitted.call_id, settlement)
    return {"success": True, "call_id": str(admitted.call_id)}
