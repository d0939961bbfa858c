"""When the log's lines are written: not before what a phone waits for, and each of them."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from contextvars import ContextVar
from pathlib import Path

import pytest

from shared.logfile import Soon

WHO: ContextVar[str] = ContextVar("who", default="nobody")


class Kept(logging.Handler):
    """Keeps who wrote which line."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.is_closed = False

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.lines.append(f"{WHO.get()}: {record.getMessage()}")

    def close(self) -> None:
        """Note it."""
        self.is_closed = True
        super().close()


@pytest.fixture
def kept() -> Kept:
    """What is written."""
    return Kept()


@pytest.fixture
def log(kept: Kept) -> logging.Logger:
    """A log of its own."""
    log = logging.Logger("own")  # noqa: LOG001 - which no other test has
    log.addHandler(Soon(kept))
    return log


def _say_as_a_loop_ends(log: logging.Logger, line: str) -> None:
    def say() -> None:
        log.info(line)
        loop.stop()

    loop = asyncio.new_event_loop()
    loop.call_soon(say)
    loop.run_forever()
    loop.close()


def test_a_line_is_written_when_the_loop_comes_round(log: logging.Logger, kept: Kept) -> None:
    """Not before whoever logs it lets others go on; then as himself, and in their order."""

    async def say(who: str) -> None:
        WHO.set(who)
        log.info("a")
        log.info("b")
        assert not any(who in line for line in kept.lines)

    async def main() -> None:
        await asyncio.gather(say("x"), say("y"))
        await asyncio.sleep(0)
        assert kept.lines == ["x: a", "x: b", "y: a", "y: b"]

    asyncio.run(main())


def test_without_a_loop_a_line_is_written_at_once(log: logging.Logger, kept: Kept) -> None:
    """Before a loop runs, behind one that ended too soon, and in another thread."""
    log.info("before")
    assert kept.lines == ["nobody: before"]

    _say_as_a_loop_ends(log, "late")
    assert kept.lines == ["nobody: before"]
    thread = threading.Thread(target=log.info, args=("thread",))
    thread.start()
    thread.join()
    assert kept.lines[1:] == ["nobody: late", "nobody: thread"]


def test_what_waits_is_written_at_the_end(log: logging.Logger, kept: Kept) -> None:
    """And whatever it is written to is let go of."""
    _say_as_a_loop_ends(log, "last")
    log.handlers[0].close()
    assert kept.lines == ["nobody: last"]
    assert kept.is_closed


def test_a_process_that_ends_writes_its_last_line(tmp_path: Path) -> None:
    """Also where its loop is left in the middle of a turn."""
    path = tmp_path / "service.log"
    code = """if True:
        import asyncio, sys
        from shared.settings import Settings
        from shared.telemetry import LOG, configure_logging

        configure_logging(Settings(log_file=sys.argv[1]))
        loop = asyncio.new_event_loop()
        loop.call_soon(LOG.info, "the last one")
        loop.call_soon(loop.stop)
        loop.run_forever()
    """
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    assert "the last one" in path.read_text("utf-8")
