"""Who is behind the stand-in's numbers: what their phones do, and by which reason a call ends.

The tables of the documents and of the page `/` are held to this one, and this one to the stand-in.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import NamedTuple


class Number(NamedTuple):
    """A number to try, in English and in Russian.

    `ends` is the reason of a call of 154's to it, or of an agent's own to +375290000001.
    """

    number: str
    does: str
    does_ru: str
    ends: str


CUSTOMERS = (
    Number(
        "+375290000001",
        "answers after 2 s and talks for 4 s",
        "отвечает через 2 с и говорит 4 с",
        "answered",
    ),
    Number("+375290000002", "is busy", "занят", "busy"),
    Number("+375290000003", "rings, and nobody answers", "звонит, никто не отвечает", "no_answer"),
    Number("+375290000004", "does not exist", "не существует", "failed"),
    Number(
        "+375290000005",
        "answers slowly, then talks until somebody hangs up",
        "отвечает не сразу и говорит, пока кто-нибудь не положит трубку",
        "answered",
    ),
)
AGENTS = (
    Number("150", "answers at once", "отвечает сразу", "answered"),
    Number("151", "answers at once: your supervisor", "отвечает сразу: ваш супервизор", "answered"),
    Number("152", "rings, then is busy", "звонит, потом занят", "agent_busy"),
    Number("153", "rings, and nobody answers", "звонит, никто не отвечает", "agent_no_answer"),
    Number("154", "answers after 1.5 s", "отвечает через 1,5 с", "answered"),
    Number("155", "is busy at once", "сразу занят", "agent_busy"),
    Number(
        "156", "answers after 1.5 s, and is heard", "отвечает через 1,5 с, и его слышно", "answered"
    ),
    Number("157", "gives no sign of life", "не подаёт признаков жизни", "agent_no_answer"),
    Number("158", "has no phone registered", "телефон не зарегистрирован", "failed"),
    Number("159", "as 156", "как 156", "answered"),
)
_CALLERS = (("+375290000007", "150"), ("+375290000008", "153"), ("+375290000009", "154"))
"""Who calls in, and the extension that he dials."""


async def call_in(ring: Callable[[str, str], object], between_s: float) -> None:
    """Have somebody call in each so many seconds, for ever: `ring(number, extension)`."""
    for number, extension in itertools.cycle(_CALLERS):
        await asyncio.sleep(between_s)
        ring(number, extension)
