"""The stand-in's Asterisk process: its pid, its boot, its control socket's listener."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

from demo.pbx import texts
from demo.pbx.calls import Exchange
from demo.pbx.cli import Cli
from demo.pbx.clock import Clock
from demo.pbx.console import PREFIX, Console
from demo.pbx.faults import Faults
from demo.pbx.kept import Latest
from demo.pbx.profiles import Profile


class Daemon:
    """One Asterisk, from start to kill and restart.

    Attributes:
        pid: The process id its banner tells; another one after each restart.
        commands: Every command line executed, in order.
    """

    def __init__(
        self, profile: Profile, clock: Clock, faults: Faults, hostname: str, entity_id: str
    ) -> None:
        self.clock = clock
        self.faults = faults
        self.exchange = Exchange(profile, clock)
        self.cli = Cli(self.exchange, entity_id)
        self.commands: list[str] = Latest()
        self.greeted = 0
        self.pid = random.randint(1000, 30000)
        self._hostname = hostname
        self._version = profile.version
        self._booted = asyncio.Event()
        self._booted.set()
        self._waiting = 0
        self._consoles: dict[asyncio.Task[None], Console] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def banner(self) -> bytes:
        """What the control socket says first."""
        return f"{self._hostname}/{self.pid}/{self._version}\n".encode()

    @property
    def booted(self) -> bool:
        """Whether it runs and `core waitfullybooted` would answer at once."""
        return self._booted.is_set() and not self.faults.asterisk_down

    @property
    def waiting(self) -> int:
        """Connections in the backlog of its socket."""
        return self._waiting

    def listens(self) -> bool:
        """Whether there is a socket that this user may connect to."""
        return not (self.faults.not_permitted or self.faults.asterisk_down)

    def has_room(self) -> bool:
        """Whether the listen backlog can hold one more connection."""
        return self._waiting < self.faults.backlog

    def connect(
        self, send: Callable[[bytes], None], cut: Callable[[], None], done: Callable[[], None]
    ) -> Console:
        """Hold a place in the backlog; `Console.start` makes use of it.

        `done` is called at the end.
        `cut` breaks the client's whole SSH connection, for the faults that do.
        """
        console = Console(self, send, cut)
        self._waiting += 1
        task = asyncio.create_task(console.run())
        self._consoles[task] = console

        def finished(ended: asyncio.Task[None]) -> None:
            del self._consoles[ended]
            if not console.accepted:
                self._waiting -= 1
            done()
            if not ended.cancelled():
                ended.result()

        task.add_done_callback(finished)
        return console

    async def accept(self) -> None:
        """Wait until Asterisk takes the next connection off its backlog."""
        if self.faults.accept_delay_s:
            await asyncio.sleep(self.faults.accept_delay_s)
        if not self.faults.accepts_while_frozen:
            await self.clock.while_frozen()
        self._waiting -= 1

    async def ask(
        self, command: str, cut: Callable[[], None], *, as_root: bool = False
    ) -> tuple[int, str]:
        """Do what `asterisk -rx COMMAND` does; return its exit status and output."""
        if self.faults.asterisk_down or not (self.listens() or as_root):
            return 1, texts.UNABLE
        # Its connect blocks while the backlog is full, where sshd's is refused.
        while not self.has_room():  # noqa: ASYNC110 - many waiters, one place at a time
            await asyncio.sleep(0.005)
        output = bytearray()
        ended = asyncio.Event()
        console = self.connect(output.extend, cut, ended.set)
        # Like the real one it writes after the banner; the console reads it no earlier.
        console.feed(PREFIX + command.encode() + b"\0")
        console.start()
        await ended.wait()
        if console.killed:
            return 0, texts.RESET
        return 0, bytes(output).partition(b"\n")[2].decode()

    async def execute(self, command: str) -> str:
        """Run one command to its end; `core waitfullybooted` takes as long as booting does."""
        self.commands.append(command)
        if command.split()[:2] == ["core", "waitfullybooted"]:
            await self._booted.wait()
        return await self.cli.run(command)

    def blocks(self, command: str) -> bool:
        """Whether this command may block its console until an extension has answered."""
        return self.exchange.profile.old and command.startswith("channel originate ")

    def crash(self) -> None:
        """Die as on SIGKILL: every call and every connection ends, nothing listens."""
        self.faults.asterisk_down = True
        self.exchange.lose_all()
        for task, console in self._consoles.items():
            console.killed = True
            if task is not asyncio.current_task():
                task.cancel()
        self.clock.thaw()  # the process that stood still is gone

    def restart(self, down_s: float, commands_s: float, dialplan_s: float) -> None:
        """Crash and come back with a new pid, in the steps of a real start."""
        self.crash()
        self._booted.clear()
        self.start_task(self._boot(down_s, commands_s, dialplan_s))

    async def _boot(self, down_s: float, commands_s: float, dialplan_s: float) -> None:
        self.cli.originate_loaded = self.exchange.dialplan_loaded = False
        await self.clock.sleep(down_s)
        self.pid += random.randint(1, 500)
        self.cli.reset()
        self.faults.asterisk_down = False
        await self.clock.sleep(commands_s)
        self.cli.originate_loaded = True
        await self.clock.sleep(dialplan_s)
        self.exchange.dialplan_loaded = True
        self._booted.set()

    def start_task(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something that outlives the SSH connection that asked for it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """End everything and wait until it is over."""
        await self.exchange.aclose()
        tasks = [*self._tasks, *self._consoles]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
