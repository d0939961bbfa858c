"""Further secrets of an enterprise: one is given out, the other ends; nothing else changes."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import anyio.to_thread
import pytest

from shared.operate.__main__ import main
from tests.integration.service import SECRET, Service, Services, until
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

Operate = Callable[..., Awaitable[tuple[int, str, str]]]
BLANKS = ["", " ", "   "]


@pytest.fixture
async def service(start: Services) -> Service:
    """The service, and its database's operator."""
    return await start()


@pytest.fixture
async def operate(service: Service, capsys: pytest.CaptureFixture[str]) -> Operate:
    """Execute an operator's command: its exit code, stdout and stderr."""

    async def run(*arguments: str) -> tuple[int, str, str]:
        code = await anyio.to_thread.run_sync(main, arguments)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


async def add(operate: Operate, *options: str, number: str = "0367") -> str:
    """Add a secret and return it."""
    code, out, err = await operate("keys", number, "add", *options)
    assert (code, err) == (0, "")
    return out.splitlines()[-1]


async def status(service: Service, secret: str) -> tuple[int, int]:
    """Tell how a read and an order with this secret are answered."""
    read = await service.http.get("/api/calls", headers={"Authorization": f"Bearer {secret}"})
    return read.status_code, (await service.call(secret=secret)).status_code


def end_of(service: Service, name: str, *, ago_s: float) -> None:
    """Let a secret have ended."""
    service.postgres.execute(
        "UPDATE callapi.keys SET until = clock_timestamp() - make_interval(secs => :ago_s)"
        " WHERE name = :name",
        ago_s=ago_s,
        name=name,
    )


async def test_a_second_secret_works_and_the_first_one_ends(
    service: Service, operate: Operate
) -> None:
    """Rotation without a gap, and without a change of the user's table."""
    before = service.postgres.execute("SELECT * FROM enterprises")
    second = await add(operate, "--name", "crm")
    assert await status(service, SECRET) == (200, 200)
    assert await status(service, second) == (200, 200)
    code, out, _ = await operate("keys", "0367", "end", "enterprises")
    assert (code, out[:19]) == (0, "enterprises: ENDED ")
    assert await status(service, SECRET) == (401, 401)
    assert await status(service, second) == (200, 200)
    assert service.postgres.execute("SELECT * FROM enterprises") == before


async def test_a_secret_is_shown_once_and_kept_nowhere(service: Service, operate: Operate) -> None:
    """43 random characters; the list has a fingerprint, the database a digest, the log a part."""
    secret = await add(operate)
    assert re.fullmatch("[A-Za-z0-9_-]{43}", secret)
    assert secret != await add(operate)
    assert (await service.call(secret=secret)).status_code == 200
    _, listed, _ = await operate("keys", "0367")
    assert re.search(
        "^  key-1: [0-9a-f]{12}, made [0-9-]{10}, without an end$", listed, re.MULTILINE
    )
    (row,) = service.postgres.execute("SELECT * FROM callapi.keys WHERE name = 'key-1'")
    assert secret not in listed + str(row) + service.log()
    assert secret.encode() not in bytes(row["digest"])


async def test_a_call_of_either_secret_is_the_same_order(
    service: Service, operate: Operate
) -> None:
    """The claim is the enterprise's, not the secret's: a repeat rings nothing."""
    first = (await service.call()).json()
    again = (await service.call(secret=await add(operate))).json()
    assert (again["repeated"], again["call_id"]) == (True, first["call_id"])
    assert again["enterprise"] == "june"


async def test_it_ends_when_it_was_to_end(service: Service, operate: Operate) -> None:
    """Then it is nobody's, with the very answer of a wrong one."""
    secret = await add(operate, "--name", "crm", "--until", "2099-12-31")
    (row,) = service.postgres.execute("SELECT until FROM callapi.keys")
    assert row["until"] == datetime(2100, 1, 1, tzinfo=UTC)
    assert await status(service, secret) == (200, 200)
    end_of(service, "crm", ago_s=0)
    assert await status(service, secret) == (401, 401)
    ended, wrong = [(await service.call(secret=text)).json() for text in (secret, "nobody's")]
    ended.pop("request_id")
    wrong.pop("request_id")
    assert ended == wrong


async def test_the_tables_own_may_end_later(service: Service, operate: Operate) -> None:
    """Until then it holds; another one that stands there afterwards is a new one and holds."""
    at = f"{datetime.now(UTC) + timedelta(hours=1):%Y-%m-%dT%H:%M:%S+00:00}"
    code, out, _ = await operate("keys", "0367", "end", "enterprises", "--at", at)
    assert (code, out.startswith("enterprises: ends ")) == (0, True)
    assert await status(service, SECRET) == (200, 200)
    end_of(service, "enterprises", ago_s=0)
    assert await status(service, SECRET) == (401, 401)
    service.postgres.execute("UPDATE enterprises SET secret = 'another-8d1f04c7a96b4e52'")
    assert await status(service, "another-8d1f04c7a96b4e52") == (200, 200)
    assert (await operate("keys", "0367", "end", "enterprises"))[0] == 0
    assert await status(service, "another-8d1f04c7a96b4e52") == (401, 401)
    service.postgres.execute("UPDATE enterprises SET secret = :s", s=SECRET)
    assert await status(service, SECRET) == (401, 401)  # what has ended never holds again


async def test_an_end_outlives_its_enterprises_number(service: Service, operate: Operate) -> None:
    """Renumbered, its row shows the same secret: that has ended for whoever shows it now."""
    assert (await operate("keys", "0367", "end", "enterprises"))[0] == 0
    for number in ("0400", " 0367"):
        service.postgres.execute("UPDATE enterprises SET number = :n", n=number)
        assert await status(service, SECRET) == (401, 401)
    service.postgres.execute("UPDATE enterprises SET number = '0400', active = false")
    service.postgres.seed_enterprise("0401", "july", "127.0.0.1", SECRET)
    assert await status(service, SECRET) == (401, 401)


async def test_a_secret_can_be_ended_once_its_enterprise_has_gone(
    service: Service, operate: Operate
) -> None:
    """Else it would open whichever enterprise gets the number next."""
    secret = await add(operate, "--name", "crm")
    service.postgres.execute("DELETE FROM enterprises")
    code, said, _ = await operate("keys", "0367")
    assert (code, said.splitlines()[0][:36]) == (0, "No enterprise has the number 0367; w")
    assert "enterprises:" not in said
    assert (await operate("keys", "0367", "end", "enterprises"))[0] == 1
    assert (await operate("keys", "0367", "add"))[0] == 1
    assert (await operate("keys", "0367", "end", "crm"))[0] == 0
    service.postgres.seed_enterprise("0367", "july", "127.0.0.1", "z" * 32)
    assert await status(service, secret) == (401, 401)
    assert (await operate("keys", "0999"))[0] == 1  # of which nobody ever had one


async def test_an_end_is_of_one_enterprise_while_there_is_one_of_its_number(
    service: Service, operate: Operate
) -> None:
    """Of two that have one secret the other's holds on, also when the first has a new one."""
    service.postgres.seed_enterprise("0368", "july", "127.0.0.1", SECRET)
    assert await status(service, SECRET) == (401, 401)  # nobody's: it does not name one
    assert (await operate("keys", "0367", "end", "enterprises"))[0] == 0
    assert await status(service, SECRET) == (200, 200)
    service.postgres.execute(
        "UPDATE enterprises SET secret = 'x', active = false WHERE number = '0367'"
    )
    assert await status(service, SECRET) == (200, 200)


NUMBERS = ("0367", " 0367", "0367  ", "10367", "03670", "%", " %", "_", "\\", "\\ ", "\\\\", "0 7")


@pytest.mark.parametrize("at", range(len(NUMBERS)), ids=map(repr, NUMBERS))
def test_numbers_that_differ_by_spaces_alone_are_counted(postgres: Postgres, at: int) -> None:
    """Whatever stands in them: no other is taken for one, and one that is not active is none."""
    postgres.clear()
    for place, number in enumerate(NUMBERS):
        postgres.seed_enterprise(number, "june", "192.0.2.1", f"secret-{place}")
    postgres.seed_enterprise(f"  {NUMBERS[at].strip()}", "june", "", "", active=False)
    (told,) = postgres.execute(
        "SELECT number, matches FROM callapi.enterprise_of(:secret)", secret=f"secret-{at}"
    )
    alike = [number for number in NUMBERS if number.strip() == NUMBERS[at].strip()]
    assert told == {"number": NUMBERS[at].strip(), "matches": len(alike)}


async def test_a_secret_that_left_the_table_is_nobodys(service: Service, operate: Operate) -> None:
    """That it was to end later does not keep it alive."""
    await operate("keys", "0367", "end", "enterprises", "--at", "2099-01-01")
    service.postgres.execute("UPDATE enterprises SET secret = 'another-8d1f04c7a96b4e52'")
    assert await status(service, SECRET) == (401, 401)


async def test_a_secret_of_two_enterprises_is_nobodys(service: Service, operate: Operate) -> None:
    """Wherever it stands: a further one of one, the table's own of another.

    Whoever calls and whoever reads cost the log the same line, which says what to look at.
    """
    secret = await add(operate)
    service.postgres.seed_enterprise("0368", "july", "192.0.2.1", secret)
    assert await status(service, secret) == (401, 401)
    assert service.log().count("проверьте secret и number в таблице enterprises") == 2
    service.postgres.execute("UPDATE enterprises SET secret = 'x' WHERE number = '0368'")
    service.postgres.execute(
        "INSERT INTO callapi.keys (digest, number, name) SELECT digest, '0368', 'stolen'"
        " FROM callapi.keys"
    )
    assert await status(service, secret) == (401, 401)


async def test_an_inactive_enterprises_secret_is_nobodys(
    service: Service, operate: Operate
) -> None:
    """Also one that was given out here; active again, it holds again."""
    secret = await add(operate)
    service.postgres.execute("UPDATE enterprises SET active = false")
    assert await status(service, secret) == (401, 401)
    service.postgres.execute("UPDATE enterprises SET active = true")
    assert (await status(service, secret))[0] == 200
    service.postgres.execute("DELETE FROM enterprises")
    assert await status(service, secret) == (401, 401)


async def test_a_key_ends_by_its_name_or_fingerprint(service: Service, operate: Operate) -> None:
    """And never holds again, whatever is asked for afterwards."""
    secrets = [await add(operate, "--name", name) for name in ("crm", "bot")]
    _, listed, _ = await operate("keys", "0367")
    fingerprint = re.findall("bot: ([0-9a-f]{12})", listed)[0]
    assert (await operate("keys", "0367", "end", "crm"))[0] == 0
    assert (await operate("keys", "0367", "end", fingerprint))[1].startswith("bot: ENDED")
    for secret in secrets:
        assert await status(service, secret) == (401, 401)
    code, _, err = await operate("keys", "0367", "end", "crm", "--at", "2099-01-01")
    assert (code, "never holds again" in err) == (1, True)
    _, listed, _ = await operate("keys", "0367")
    assert listed.count("ENDED") == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("9999",), "There is no enterprise 9999. The nearest are 0367"),
        (("9999", "add"), "There is no enterprise 9999. The nearest are 0367"),
        (("0367", "end", "none"), "Enterprise 0367 has no secret none; it has enterprises, crm"),
        (("0367", "add", "--name", "crm"), "has a secret of the name crm already"),
        (("0367", "add", "--until", "2001-01-01"), "--until 2001-01-02 00:00:00 UTC is over"),
    ],
)
async def test_what_cannot_be_done_is_said(
    service: Service, operate: Operate, arguments: tuple[str, ...], said: str
) -> None:
    """In one sentence; nothing is changed."""
    await add(operate, "--name", "crm")
    code, out, err = await operate("keys", *arguments)
    assert (code, out, said in err) == (1, "", True), err
    assert len(service.postgres.execute("SELECT 1 FROM callapi.keys")) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("add", "--until", "tomorrow"),
        ("add", "--until", "2099-12-31T10:00:00"),
        ("add", "--name", "two words"),
        ("add", "--name", "enterprises"),
        ("add", "a-secret-of-my-own"),
        ("end",),
    ],
)
async def test_a_wrong_command_line_is_refused(
    operate: Operate, arguments: tuple[str, ...]
) -> None:
    """A time without its zone, a name of two words; a secret is never taken from a command line."""
    with pytest.raises(SystemExit):
        await operate("keys", "0367", *arguments)


# What stands in the table


@pytest.mark.parametrize("secret", BLANKS)
async def test_a_blank_secret_is_nobodys(service: Service, secret: str) -> None:
    """Though it stands in the table, and however it is sent."""
    service.postgres.execute("UPDATE enterprises SET secret = :secret", secret=secret)
    for query in ("/api/makecallexternal?code=150&phone=900&clientId=", "/api/calls?clientId="):
        service.http.headers.pop("Authorization", None)
        answer = await service.http.get(query + secret.replace(" ", "%20"))
        assert (answer.status_code, answer.json()["detail"]) == (401, "Invalid clientId")
    assert service.originates() == []


async def test_a_short_secret_is_refused_where_a_setting_says_so(start: Services) -> None:
    """By the same 401 as a wrong one; the log says why, and not what it was."""
    service = await start(SECRET_MIN="16")
    service.postgres.execute("UPDATE enterprises SET secret = 'fifteen-charact'")
    assert await status(service, "fifteen-charact") == (401, 401)
    assert "SECRET_MIN=16" in service.log()
    assert "fifteen" not in service.log()
    service.postgres.execute("UPDATE enterprises SET secret = 'sixteen-characte'")
    assert await status(service, "sixteen-characte") == (200, 200)


async def test_the_start_says_what_makes_a_break_in_easier(start: Services) -> None:
    """Short secrets by their enterprises' numbers, one password for several hosts; once."""
    start.postgres.execute("UPDATE enterprises SET secret = 'abc'")
    start.postgres.seed_enterprise("0368", "july", "127.0.0.2", "july-8d1f04c7a96b4e52")
    start.postgres.seed_enterprise("0369", "gone", "127.0.0.3", "x", active=False)
    start.warn = True
    service = await start()
    await until(lambda: "SSH_PASSWORD" in service.log())
    assert service.log().count("⚠️") == 2
    assert "предприятия: 0367\n" in service.log()
    assert "SSH_PASSWORD на 2 хостов" in service.log()
    assert "abc" not in service.log()


async def test_the_start_of_a_sound_service_says_nothing(start: Services) -> None:
    """Whoever reads the log is to notice a warning."""
    start.warn = True
    service = await start()
    assert (await service.call()).status_code == 200
    assert "⚠️" not in service.log()
