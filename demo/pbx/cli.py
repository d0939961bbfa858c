"""The command line of the stand-in's Asterisk: text in, text out.

It refuses loudly what it does not imitate: the answer is Asterisk's own `No such command`,
and the command is kept in the exchange's `refused` and logged.
"""

import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable

from demo.pbx import texts
from demo.pbx.call import Call, parse_local
from demo.pbx.calls import Exchange
from demo.pbx.devices import list_devices, show_device
from demo.pbx.listing import concise, describe, list_bridges
from demo.pbx.show import show_dialplan, show_hint

log = logging.getLogger(__name__)

ORIGINATE_WORDS = 3
REDIRECT_WORDS = 2
WORD = re.compile(r'"((?:[^"\\]|\\.)*)"?|((?:[^ \t"\\]|\\.)+)', re.DOTALL)


def split_words(line: str) -> list[str]:
    """Split as Asterisk does: at spaces and tabs, no newlines; quotes and backslashes protect."""
    words: list[str] = []
    end = -1
    for found in WORD.finditer(line):
        text = re.sub(r"\\(.)", r"\1", found[1] if found[1] is not None else found[2])
        if found.start() == end:
            words[-1] += text
        else:
            words.append(text)
        end = found.end()
    return words


class Cli:
    """Runs one command after the other against the calls of an exchange."""

    def __init__(self, exchange: Exchange, entity_id: str) -> None:
        self.exchange = exchange
        self.entity_id = entity_id
        self.born = time.monotonic()
        self.originate_loaded = True
        self.uuid = str(uuid.uuid4())
        self._commands: dict[tuple[str, ...], Callable[[list[str], str], str | Awaitable[str]]] = {
            ("core", "show", "version"): self._version,
            ("core", "show", "settings"): self._settings,
            ("core", "show", "uptime"): self._uptime,
            ("core", "show", "channeltypes"): self._channel_types,
            ("core", "show", "channels"): self._channels,
            ("core", "show", "channel"): self._channel,
            ("core", "show", "calls"): self._calls,
            ("core", "show", "hint"): self._hint,
            ("core", "waitfullybooted"): self._booted,
            ("cdr", "show", "status"): self._cdr_status,
            ("dialplan", "show"): self._dialplan,
            self._show_device_words(): self._device,
            self._list_devices_words(): self._devices,
            **({} if exchange.profile.old else {("bridge", "show", "all"): self._bridges}),
            ("channel", "originate"): self._originate,
            ("channel", "request", "hangup"): self._hangup,
            ("channel", "redirect"): self._redirect,
        }

    @property
    def _new(self) -> bool:
        """Whether the texts are those of 22."""
        return self.exchange.profile.technology == "PJSIP"

    def reset(self) -> None:
        """Count from zero again, as a restarted Asterisk does."""
        self.born = time.monotonic()
        self.uuid = str(uuid.uuid4())
        self.exchange.processed = 0

    async def run(self, line: str) -> str:
        """Run one command and return what the console prints, when it has come to its end."""
        words = split_words(line)
        if not words:
            return ""
        for length in (3, 2):
            handler = self._commands.get(tuple(word.lower() for word in words[:length]))
            if handler is not None:
                answer = handler(words[length:], line)
                return answer if isinstance(answer, str) else await answer
        return self._refuse(line)

    def _refuse(self, line: str) -> str:
        log.warning("the stand-in does not imitate: %s", line)
        self.exchange.refused.append(line)
        return self._no_such_command(line)

    def _no_such_command(self, line: str) -> str:
        words = split_words(line)
        known = 0
        while known < len(words) and any(
            words[: known + 1] == list(name[: known + 1]) for name in self._commands
        ):
            known += 1
        # Asterisk repeats the words up to the second one that leads nowhere.
        hint = " ".join(words[: known + 2])
        return (
            f"No such command '{line}' (type 'core show help {hint}' for other possible commands)\n"
        )

    def _version(self, words: list[str], _line: str) -> str:
        if words:
            return texts.VERSION_USAGE
        profile = self.exchange.profile
        return f"Asterisk {profile.version} built by {profile.built}\n"

    def _settings(self, words: list[str], line: str) -> str:
        """Tell who it is, and of the many other settings two."""
        if words:
            return self._refuse(line)
        return texts.settings(self.exchange.profile, self.entity_id, self.uuid)

    def _uptime(self, words: list[str], _line: str) -> str:
        seconds = int(time.monotonic() - self.born)
        if not words:
            span = texts.in_words(seconds)
            return f"System uptime: {span}\nLast reload: {span}\n"
        if [word.lower() for word in words] != ["seconds"]:
            return texts.UPTIME_USAGE
        return f"System uptime: {seconds}\nLast reload: {seconds}\n"

    def _channel_types(self, words: list[str], _line: str) -> str:
        if words:
            return texts.CHANNELTYPES_USAGE
        return texts.channel_types(self.exchange.profile)

    def _channels(self, words: list[str], line: str) -> str:
        match [word.lower() for word in words]:
            case ["concise"]:
                exchange, now = self.exchange, self.exchange.clock.now()
                live = exchange.channels.snapshot()
                return "".join(concise(each, exchange.profile, now) for each in live)
            case ["count"]:
                count = len(self.exchange.channels)
                return f"{count} active channel{'' if count == 1 else 's'}\n{self._calls([], line)}"
            case [] | ["verbose"]:
                return self._refuse(line)  # they cut names short: of no use to a program
            case _:
                deprecated = "" if self._new else texts.CHANNELS_USAGE_16
                return texts.CHANNELS_USAGE + deprecated

    def _calls(self, words: list[str], line: str) -> str:
        if words in (["uptime"], ["uptime", "seconds"]):
            return self._refuse(line)
        if words:
            return texts.CALLS_USAGE
        active, processed = self.exchange.active(), self.exchange.processed
        return (
            f"{active} active call{'' if active == 1 else 's'}\n"
            f"{processed} call{'' if processed == 1 else 's'} processed\n"
        )

    def _channel(self, words: list[str], _line: str) -> str:
        if len(words) != 1:
            return texts.CHANNEL_USAGE
        channel = self.exchange.channels.find(words[0])
        if channel is None:
            return f"{words[0]} is not a known channel\n"
        return describe(channel, self.exchange.profile, self.exchange.clock.now())

    def _hint(self, words: list[str], _line: str) -> str:
        return show_hint(self.exchange, words[0]) if words else texts.HINT_USAGE

    def _booted(self, _words: list[str], _line: str) -> str:
        return "Asterisk has fully booted.\n"  # whoever runs commands has waited for it

    def _cdr_status(self, words: list[str], line: str) -> str:
        return self._refuse(line) if words else texts.CDR_STATUS[self.exchange.profile.name]

    def _show_device_words(self) -> tuple[str, ...]:
        """The driver's own words: the other driver's are no command."""
        kind = ("sip", "show", "peer"), ("pjsip", "show", "endpoint")
        return kind[self._new]

    def _device(self, words: list[str], line: str) -> str:
        if len(words) != 1:
            return self._refuse(line)
        return show_device(self.exchange.profile, words[0])

    def _list_devices_words(self) -> tuple[str, ...]:
        kind = ("sip", "show", "peers"), ("pjsip", "list", "endpoints")
        return kind[self._new]

    def _devices(self, words: list[str], line: str) -> str:
        return self._refuse(line) if words else list_devices(self.exchange.profile)

    def _bridges(self, words: list[str], line: str) -> str:
        exchange = self.exchange
        live = exchange.channels.snapshot()
        now = exchange.clock.now()
        return self._refuse(line) if words else list_bridges(live, exchange.profile, now)

    def _dialplan(self, words: list[str], line: str) -> str:
        if len(words) > 1:
            return texts.DIALPLAN_USAGE
        if words and words[0].endswith("@"):
            return self._refuse(line)
        return show_dialplan(self.exchange, words[0] if words else "", line)

    def _originate(self, words: list[str], line: str) -> str | Awaitable[str]:
        if not self.originate_loaded:
            return self._no_such_command(line)
        if len(words) < ORIGINATE_WORDS or words[1].lower() not in {"application", "extension"}:
            return texts.ORIGINATE_USAGE
        if "/" not in words[0]:
            return texts.NO_CHANNEL_DATA + texts.ORIGINATE_USAGE
        address = parse_local(words[0])
        if address is None or words[1].lower() == "extension":
            return self._refuse(line)
        data = words[3] if len(words) > ORIGINATE_WORDS else ""
        return self._dialled(self.exchange.originate(address, words[2], data))

    async def _dialled(self, call: Call) -> str:
        """Print nothing: at once, or up to Asterisk 11 once the extension has answered or not."""
        if self.exchange.profile.old:
            await call.dialled.wait()
        return ""

    def _hangup(self, words: list[str], line: str) -> str:
        if not words or (len(words) > 1 and not self._new):
            return texts.HANGUP_USAGE_22 if self._new else texts.HANGUP_USAGE_16
        if any(set("*?[") & set(word) or word.startswith("/") for word in words):
            return self._refuse(line)
        if words == ["all"]:
            words = [live.name for live in self.exchange.channels.snapshot()]
        return "".join(
            f"Requested Hangup on channel '{word}'\n"
            if self.exchange.hang_up(word)
            else f"{word} is not a known channel\n"
            for word in words
        )

    def _redirect(self, words: list[str], line: str) -> str:
        if len(words) != REDIRECT_WORDS:
            return texts.REDIRECT_USAGE
        name, place = words
        if self.exchange.channels.find(name) is None:
            return f"Channel '{name}' not found\nCommand '{line}' failed.\n"
        match place.split(","):
            case [context, exten, "1"] if self.exchange.redirect(name, exten, context):
                return f"Channel '{name}' successfully redirected to {place}\n"
        return self._refuse(line)
