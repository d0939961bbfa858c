"""The stand-in's login shell: `asterisk -rx '...'`, `echo`, `true`, `test`, `date +%s`, by `&&`.

Anything else is refused loudly: exit status 127, and kept with what the CLI refused.
"""

import logging
import re
import shlex
import time
from collections.abc import Callable
from pathlib import PurePosixPath

from demo.pbx.daemon import Daemon

log = logging.getLogger(__name__)

NOT_FOUND = 127
SOCKETS = {"/var/run/asterisk/asterisk.ctl", "/run/asterisk/asterisk.ctl"}
PLAIN = re.compile(r"[\w.:-]+")
ASTERISK = (["asterisk"], ["/usr/sbin/asterisk"], ["sudo", "asterisk"])


def split_chain(line: str) -> list[list[str]] | None:
    """The words of each command between `&&`; None if the line uses more of a shell."""
    try:
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        lexer.commenters = ""
        tokens = list(lexer)
    except ValueError:
        return None
    chain: list[list[str]] = [[]]
    for token in tokens:
        if token == "&&":
            chain.append([])
        elif token and set(token) <= set("();<>|&"):
            return None
        else:
            chain[-1].append(token)
    return chain if all(chain) else None


class Shell:
    """Runs one line of `bash -c`, as sshd would for an exec request."""

    def __init__(self, daemon: Daemon, asterisk: tuple[list[str], ...] = ASTERISK) -> None:
        self._daemon = daemon
        self._asterisk = asterisk

    async def run(
        self, line: str, write: Callable[[str, str], None], cut: Callable[[], None]
    ) -> int:
        """Run the chain up to its first failure; `write` gets (stdout, stderr) on the way."""
        if self._daemon.faults.no_shell:
            return 1
        write(self._daemon.faults.greeting, "")
        chain = split_chain(line)
        if chain is None:
            return self._refuse(line, line, write)
        for words in chain:
            status = await self._command(words, line, write, cut)
            if status:
                return status
        return 0

    async def _command(
        self,
        words: list[str],
        line: str,
        write: Callable[[str, str], None],
        cut: Callable[[], None],
    ) -> int:
        done = self._builtin(words)
        if done is not None:
            status, output = done
            write(output, "")
            return status
        for program in self._asterisk:
            if words[: len(program)] == program:
                match words[len(program) :]:
                    case ["-rx", command]:
                        as_root = program[0] == "sudo"
                        if as_root:
                            write("", self._daemon.faults.sudo_says)
                        status, output = await self._daemon.ask(command, cut, as_root=as_root)
                        write(*(("", output) if status else (output, "")))
                        return status
        return self._refuse(words[0], line, write)

    def _builtin(self, words: list[str]) -> tuple[int, str] | None:
        """Give the exit status and the output of what is no Asterisk; None: it is not imitated."""
        match words:
            case ["true"]:
                return 0, ""
            case ["date", "+%s"]:
                return 0, f"{int(time.time()) + self._daemon.faults.clock_ahead_s}\n"
            case ["echo", word] if PLAIN.fullmatch(word):
                return 0, f"{word}\n"
            case ["test", flag, path]:
                return int(not self._is_so(flag, path)), ""
        return None

    def _is_so(self, flag: str, path: str) -> bool:
        """Test a path: there is the control socket and its folder, and that is open."""
        sockets = {*SOCKETS, self._daemon.exchange.profile.places.socket}
        if path not in sockets:
            folders = {str(PurePosixPath(socket).parent) for socket in sockets}
            return flag in {"-d", "-x"} and path in folders
        return flag == "-e" or (flag == "-w" and not self._daemon.faults.not_permitted)

    def _refuse(self, name: str, line: str, write: Callable[[str, str], None]) -> int:
        log.warning("the stand-in's shell does not imitate: %s", line)
        self._daemon.exchange.refused.append(line)
        write("", f"bash: line 1: {name}: command not found\n")
        return NOT_FOUND
