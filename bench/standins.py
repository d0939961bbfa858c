"""Stand-in PBXs in a process of their own: `python -m bench.standins COUNT PORT TIME_SCALE`.

All are on one port, each at an address of its own; they end with their standard input.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack

import asyncssh

from bench.stage import SSH_PASSWORD, address
from demo.standin import StandIn

_FORGET_S = 1.0


async def serve(count: int, port: int, time_scale: float) -> None:
    """Run them."""
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    async with AsyncExitStack() as stack:
        pbxs = []
        for number in range(count):
            pbx = StandIn(
                host=address(number) if count > 1 else "127.0.0.1",
                port=port,
                password=SSH_PASSWORD,
                host_key=asyncssh.generate_private_key("ssh-ed25519"),
                time_scale=time_scale,
                hostname=f"standin{number}",
            )
            pbxs.append(await stack.enter_async_context(pbx))
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while not ended.done():
            await asyncio.wait([ended], timeout=_FORGET_S)
            for pbx in pbxs:
                pbx.commands.clear()  # a test's, and without an end


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
