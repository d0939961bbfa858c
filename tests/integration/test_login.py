"""Logging in to hosts as they are: each hindrance is named for what it is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import asyncssh
import pytest

from shared.deadline import Deadline
from shared.errors import AuthenticationFailed, ConnectFailed, HostKeyChanged
from shared.pbx.addresses import checked_host
from shared.ssh.connection import Connection, Target
from shared.ssh.login import Credentials, Security, connect

pytestmark = pytest.mark.anyio

PASSWORD = "correct horse"
KEY = asyncssh.generate_private_key("ssh-ed25519")


class Host(asyncssh.SSHServer):
    """A host that takes the password, or asks for it in its own words."""

    def __init__(self, *prompts: str, shown: bool = False, expired: bool = False) -> None:
        self._prompts = [(prompt, shown) for prompt in prompts]
        self._expired = expired
        self.tried = 0
        self._asked = 0

    def begin_auth(self, username: str) -> bool:
        """Insist on a log-in."""
        return True

    def password_auth_supported(self) -> bool:
        """Only where it has no words of its own."""
        return not self._prompts

    def validate_password(self, username: str, password: str) -> bool:
        """Take the one; an expired one is to be changed."""
        self.tried += 1
        if self._expired:
            raise asyncssh.PasswordChangeRequired("Enter a new password")
        return password == PASSWORD

    def kbdint_auth_supported(self) -> bool:
        """Where it has words of its own."""
        return bool(self._prompts)

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Any:
        """Ask the first question."""
        return "", "", "", self._prompts[:1]

    def validate_kbdint_response(self, username: str, responses: Any) -> Any:
        """Take the answer, and ask the next question if there is one."""
        self.tried += 1
        self._asked += 1
        if list(responses) != [PASSWORD]:
            return False
        following = self._prompts[self._asked : self._asked + 1]
        return ("", "", "", following) if following else True


class Pinned:
    """A store that knows the key."""

    def __init__(self, key: asyncssh.SSHKey = KEY) -> None:
        self._text = key.export_public_key().decode().strip()

    async def find(self, host: str, port: int) -> str | None:
        """It was seen before."""
        return self._text

    async def pin(self, host: str, port: int, key: str) -> str:
        """Nothing is new."""
        raise AssertionError


async def run(process: asyncssh.SSHServerProcess[str]) -> None:
    """Run nothing, with success."""
    process.exit(0)


@contextlib.asynccontextmanager
async def logged_in(
    host: Host, *, pinned: Pinned | None = None, process: Any = run, **options: Any
) -> AsyncIterator[Connection]:
    """Log in to a host that listens until the block ends."""
    server = await asyncssh.listen(
        *("127.0.0.1", 0),
        server_factory=lambda: host,
        server_host_keys=[KEY],
        process_factory=process,
        **options,
    )
    connection: Connection | None = None
    try:
        target = Target("127.0.0.1", server.get_port(), "root")
        security = Security(Credentials(password=PASSWORD), pinned or Pinned())
        connection = await connect(target, security, deadline=Deadline.after(10), keepalive_s=0)
        yield connection
    finally:
        if connection is not None:
            await connection.close()
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("cipher", ["aes192-ctr", "aes256-gcm@openssh.com"])
async def test_a_host_may_know_one_cipher_alone(cipher: str) -> None:
    """Any that is not broken will do."""
    async with logged_in(Host(), encryption_algs=[cipher]) as connection:
        assert not connection.is_closed()


async def test_a_cipher_that_we_do_not_speak_is_no_changed_host_key() -> None:
    """No alarm, and what both sides lack in common is named; the pinned key was shown."""
    with pytest.raises(ConnectFailed, match=r"in common with the host: encryption$"):
        async with logged_in(Host(), encryption_algs=["aes128-cbc"]):
            pass


async def test_a_key_of_another_kind_is_a_changed_one() -> None:
    """The pinned kind alone is offered, so no host slips in another."""
    other = Pinned(asyncssh.generate_private_key("ecdsa-sha2-nistp256"))
    with pytest.raises(HostKeyChanged):
        async with logged_in(Host(), pinned=other):
            pass


@pytest.mark.parametrize("prompt", ["Password: ", "Code for root: ", "Пароль: "])
async def test_a_password_may_be_asked_for_in_any_words(prompt: str) -> None:
    """By keyboard-interactive: one hidden question is the password's."""
    async with logged_in(Host(prompt)) as connection:
        assert not connection.is_closed()


class Both(Host):
    """A host that takes neither way's password."""

    def password_auth_supported(self) -> bool:
        """It has both ways."""
        return True

    def validate_password(self, username: str, password: str) -> bool:
        """Refuse."""
        self.tried += 1
        return False

    def validate_kbdint_response(self, username: str, responses: Any) -> Any:
        """Refuse."""
        self.tried += 1
        return False


async def test_a_wrong_password_is_sent_once() -> None:
    """Whoever counts failures, to lock an address out, counts one."""
    host = Both("Password: ")
    with pytest.raises(AuthenticationFailed, match="does not accept"):
        async with logged_in(host):
            pass
    assert host.tried == 1


class WithoutQuestions(Both):
    """One that offers to ask and has no question, as OpenSSH without PAM; it takes the password."""

    offered = 0

    def kbdint_auth_supported(self) -> bool:
        """It says so, however often it had none."""
        return True

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Any:
        """Have none."""
        self.offered += 1
        return False

    def validate_password(self, username: str, password: str) -> bool:
        """Take the one."""
        self.tried += 1
        return password == PASSWORD


async def test_a_host_that_offers_to_ask_may_have_no_question() -> None:
    """As sshd without PAM does by default: it is let ask once, not until it hangs up."""
    host = WithoutQuestions()
    async with logged_in(host) as connection:
        assert not connection.is_closed()
    assert (host.offered, host.tried) == (1, 1)


class OfOneTry(Both):
    """One with MaxAuthTries 1: sshd hangs up, by a code that is meant for broken SSH."""

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Keep it."""
        self._connection = conn

    def validate_password(self, username: str, password: str) -> bool:
        """Refuse, for good."""
        self._connection.disconnect(
            asyncssh.DISC_PROTOCOL_ERROR, "Too many authentication failures"
        )
        return False


async def test_a_host_that_hangs_up_on_a_wrong_password_refuses_it() -> None:
    """It is named so, and not for a host that speaks no SSH."""
    with pytest.raises(AuthenticationFailed, match="does not accept the password or key of root"):
        async with logged_in(OfOneTry()):
            pass


async def test_a_question_that_is_shown_is_not_answered() -> None:
    """What anybody may read is not the password."""
    with pytest.raises(AuthenticationFailed, match="does not accept"):
        async with logged_in(Host("Your name: ", shown=True)):
            pass


@pytest.mark.parametrize("host", [Host(expired=True), Host("Password: ", "New password: ")])
async def test_an_expired_password_is_told(host: Host) -> None:
    """Nobody guesses a new one for a host that asks for it."""
    with pytest.raises(AuthenticationFailed, match=r"password of root has expired on 127\.0\.0\.1"):
        async with logged_in(host):
            pass


@pytest.mark.parametrize(
    "ask",
    [
        lambda host, until: host.open_socket("/var/run/asterisk/asterisk.ctl", until),
        lambda host, until: host.start("true", until),
        lambda host, until: host.read_file("/etc/passwd", 0, 1, until),
    ],
)
async def test_an_account_whose_password_must_be_changed_is_told(ask: Any) -> None:
    """OpenSSH logs in, and then runs nothing but this, and opens no socket."""

    async def insist(process: asyncssh.SSHServerProcess[str]) -> None:
        process.stderr.write("Password change required but no TTY available.\n")
        process.exit(1)

    async with logged_in(Host(), process=insist) as connection:
        with pytest.raises(AuthenticationFailed, match=r"password of root has expired on 127"):
            await ask(connection, Deadline.after(10))
        assert connection.is_closed()


async def test_a_shell_that_greets_with_words_of_sshd_s_runs_commands_all_the_same() -> None:
    """Whoever's command has succeeded need not change his password first."""

    async def greet(process: asyncssh.SSHServerProcess[str]) -> None:
        process.stdout.write("Password change required every 90 days, see the wiki\n")
        process.exit(0)

    async with logged_in(Host(), process=greet) as connection:
        running = await connection.start("true", Deadline.after(10))
        while not running.has_ended:
            await running.progress(Deadline.after(10))
        assert running.exit_status == 0


async def test_a_login_shell_that_waits_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run never; the control socket may serve all the same."""

    async def wait(process: asyncssh.SSHServerProcess[str]) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr("shared.ssh.login._WARM_UP_S", 0.2)
    async with logged_in(Host(), process=wait) as connection:
        assert not connection.is_closed()


@pytest.mark.parametrize(
    ("ip", "host"),
    [
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("192.0.2.10", "192.0.2.10"),
        ("pbx.example.test", "pbx.example.test"),
    ],
)
def test_an_address_may_stand_in_brackets(ip: str, host: str) -> None:
    """As URLs have it."""
    assert checked_host(ip) == host


@pytest.mark.parametrize("ip", ["[pbx.example.test]", "[192.0.2.300]", "[", "[]", "a b", "-x"])
def test_what_is_no_address_is_refused(ip: str) -> None:
    """Nothing else is taken out of brackets."""
    with pytest.raises(ConnectFailed):
        checked_host(ip)
