"""What the panel changes. Every change goes through `execute`, which tells who did it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from uuid import UUID

import anyio.to_thread

from shared.auth.enterprise import Enterprise
from shared.calls.hanging_up import hang_up
from shared.deadline import Deadline
from shared.errors import ServiceError
from shared.following.wake import the_waker
from shared.operate.command import OperatorError
from shared.operate.keys import add_secret, end_secret
from shared.operate.rules import set_rules
from shared.panel import services
from shared.panel.enterprises import NewKey, find_row
from shared.panel.hosts import accept_key
from shared.panel.live import find_call
from shared.panel.refusals import Refused, Said
from shared.pbx.hosts import the_pbx
from shared.settings import the_settings
from shared.store.audit import Doer
from shared.store.database import the_database
from shared.store.sqlstates import TextRefused
from shared.telemetry import LOG, REQUEST_ID


@dataclass(frozen=True, slots=True)
class Actor:
    """Who wants a change: a session's name, and the address that it came from."""

    session: str
    address: str | None

    @property
    def doer(self) -> Doer:
        """Who does it, as it is noted."""
        request_id = REQUEST_ID.get()
        return Doer(
            "panel", actor=f"session {self.session}", address=self.address, request_id=request_id
        )


@dataclass(frozen=True, slots=True)
class Done:
    """What was done: the text that says so, and the page that shows it now.

    `secret` is shown this once, beside what is `said` of it.
    """

    key: str
    path: str
    query: dict[str, str] = field(default_factory=dict)
    said: str = ""
    secret: str = field(default="", repr=False)


Form = dict[str, str]
Act = Callable[[Form, Doer], Awaitable[Done]]


@dataclass(frozen=True, slots=True)
class Action:
    """One change; `subject` is the field that names what it is about."""

    title: str
    subject: str
    act: Act


async def execute(name: str, form: Form, actor: Actor) -> Done:
    """Have a change made, and tell of it; the one way to every change of the panel's.

    Raises Refused, ServiceError: as far as things had got.
    """
    action = ACTIONS.get(name)
    if action is None:
        raise Refused("not_found", status=404)
    # What is told has the words of a form: the log writes them in one line, and no secret is there.
    what = (action.title, form.get(action.subject, "")[:100], actor.session, actor.address)
    try:
        done = await action.act(form, actor.doer)
    except TextRefused:
        raise Refused("not_found", status=404) from None
    except OperatorError as error:
        LOG.warning("⚠️ Панель: не %s %s (сеанс %s, адрес %s): %s", *what, error)
        raise Said(error.args[0]) from None
    except (ServiceError, Refused) as error:
        LOG.warning("⚠️ Панель: не %s %s (сеанс %s, адрес %s): %s", *what, error)
        raise
    LOG.info("🛠️ Панель: %s %s (сеанс %s, адрес %s)", *what)
    return done


async def _restart(_form: Form, _doer: Doer) -> Done:
    before = await anyio.to_thread.run_sync(services.restart)
    return Done("restart", "/services", {"since": str(before)})


async def _hang_up(form: Form, doer: Doer) -> Done:
    database = the_database()
    try:
        call_id = UUID(form.get("call_id", ""))
    except ValueError:
        raise Refused("not_found", status=404) from None
    call = await find_call(database, call_id)
    if call is None:
        raise Refused("not_found", status=404)
    # Of an enterprise no more than its number is asked for to end one of its calls.
    whose = Enterprise(
        number=call.enterprise,
        name="",
        host="",
        extensions=None,
        shares_host=None,
        may_share=False,
        cursor_key="",
    )
    deadline = Deadline.after(the_settings().request_timeout_s)
    await hang_up(
        *(whose, call_id, deadline),
        doer=doer,
        database=database,
        pbx=the_pbx(),
        waker=the_waker(),
    )
    return Done("hung_up", "")


async def _stop(form: Form, doer: Doer) -> Done:
    return await _dialling(form, doer, "off", "dialling_stopped")


async def _go(form: Form, doer: Doer) -> Done:
    return await _dialling(form, doer, "on", "dialling_went")


async def _dialling(form: Form, doer: Doer, state: str, key: str) -> Done:
    shown = form.get("number", "")
    if form.get("typed", "") != shown or not shown:
        raise Refused("wrong_number", status=422)
    database = the_database()
    number = (await find_row(database, shown)).number
    await anyio.to_thread.run_sync(set_rules, database, doer, number, {"dialling": state})
    return Done(key, "/enterprise", {"number": number})


async def _add_key(form: Form, doer: Doer) -> Done:
    database = the_database()
    row = await find_row(database, form.get("number", ""))
    wanted = NewKey.parse(form.get("name", ""), form.get("until", ""))
    said, secret = await anyio.to_thread.run_sync(
        add_secret, database, doer, row.number, wanted.name, wanted.until
    )
    return Done("key_made", "/enterprise", {"number": row.number}, said, secret)


async def _end_key(form: Form, doer: Doer) -> Done:
    database = the_database()
    row = await find_row(database, form.get("number", ""))
    key = form.get("key", "")
    await anyio.to_thread.run_sync(end_secret, database, doer, row.number, key, None)
    return Done("key_ended", "/enterprise", {"number": row.number})


async def _accept_key(form: Form, doer: Doer) -> Done:
    database, pbx, host = the_database(), the_pbx(), form.get("host", "")
    shown = form.get("fingerprint", "")
    await accept_key(database, pbx, the_settings(), host, confirmed=shown, doer=doer)
    return Done("key_accepted", "/hosts")


# By the last word of the path that a form is sent to.
ACTIONS: dict[str, Action] = {
    "restart": Action("перезапуск", "", _restart),
    "hang-up": Action("завершение звонка", "call_id", _hang_up),
    "stop-dialling": Action("остановка звонков предприятия", "number", _stop),
    "let-dial": Action("разрешение звонков предприятия", "number", _go),
    "add-key": Action("новый секрет предприятия", "number", _add_key),
    "end-key": Action("окончание секрета предприятия", "number", _end_key),
    "accept-key": Action("новый ключ АТС", "host", _accept_key),
}
