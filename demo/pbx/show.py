"""What `dialplan show` and `core show hint` print."""

from dataclasses import dataclass, field

from demo.pbx.calls import Exchange
from demo.pbx.dialplan import Extension, contexts_of, find_hints
from demo.pbx.profiles import Profile


def show_dialplan(exchange: Exchange, words: str, line: str) -> str:
    """Answer `dialplan show [[exten@]context]`; `line` is the command as it was typed."""
    number, _, name = words.rpartition("@")
    contexts = list(contexts_of(exchange.profile)) if exchange.dialplan_loaded else []
    if words and name not in contexts:
        return f"There is no existence of '{name}' context\nCommand '{line}' failed.\n"
    listing = Listing(exchange.profile, number)
    for context in [name] if words else contexts:
        listing.add(context)
    text = "".join(f"{shown}\n" for shown in listing.lines)
    if number and not listing.extensions:
        return f"{text}There is no existence of {words} extension\nCommand '{line}' failed.\n"
    return f"{text}{listing.summary()}\n"


@dataclass(slots=True)
class Listing:
    """What `dialplan show` prints: all of the contexts added, or what `number` matches there."""

    profile: Profile
    number: str
    lines: list[str] = field(default_factory=list)
    contexts: int = 0
    extensions: int = 0
    priorities: int = 0

    def add(self, name: str, *, kind: str = "Context") -> None:
        """List a context; for a number it is named only if it, and not an include, matches."""
        context = contexts_of(self.profile)[name]
        chosen = [
            each for each in context.extensions if not self.number or each.matches(self.number)
        ]
        headed = bool(chosen) or not self.number
        if headed:
            self.contexts += 1
            self.lines.append(f"[ {kind} '{name}' created by 'pbx_config' ]")
        for extension in chosen:
            self._add_extension(extension)
        for include in context.includes:
            if self.number:
                self.add(include, kind="Included context")
            else:
                self._add_row("Include =>", f"'{include}'", "pbx_config")
        if kind == "Context":
            for switch in context.switches:
                self._add_row("Alt. Switch =>", f"'{switch}'", "pbx_config")
        if headed:
            self.lines.append("")

    def summary(self) -> str:
        """The last line."""
        priorities = "priority" if self.priorities == 1 else "priorities"
        return (
            f"-= {self.extensions} extension{_s(self.extensions)} ({self.priorities} {priorities})"
            f" in {self.contexts} context{_s(self.contexts)}. =-"
        )

    def _add_extension(self, extension: Extension) -> None:
        self.extensions += 1
        self.priorities += len(extension.steps)
        for index, step in enumerate(extension.steps):
            head = f"'{extension.pattern}' =>" if index == 0 else ""
            text = step.replace("{tech}", self.profile.technology)
            if not extension.is_hint:
                text = f"{index + 1}. {text}"
            origin = f"extensions.conf:{extension.line + index}"
            self._add_row(head, text, "pbx_config" if self.profile.source else origin)

    def _add_row(self, head: str, text: str, origin: str) -> None:
        self.lines.append(f"  {head:<17} {text:<45} [{origin}]")


def show_hint(exchange: Exchange, number: str) -> str:
    """Answer `core show hint NUMBER`: chan_sip says Idle even during a call, as it does."""
    profile, lines = exchange.profile, []
    for extension, context in find_hints(number) if exchange.dialplan_loaded else ():
        device = extension.steps[0].removeprefix("hint: ").replace("{tech}", profile.technology)
        busy = profile.technology == "PJSIP" and any(
            live.name.startswith(f"{device}-") for live in exchange.channels.snapshot()
        )
        state = f"State:{'InUse' if busy else 'Idle':<15}"
        uri = f"{extension.pattern}@{context.name}"
        if profile.old:
            uri = f"   {extension.pattern:>20}@{context.name:<20}"
        else:
            state = f"{state} Presence:{'not_set':<15}"
        widths = (20, 20) if profile.technology == "SIP" else (30, 60)
        lines.append(f"{uri:<{widths[0]}}: {device:<{widths[1]}}  {state} Watchers {0:>2}\n")
    if not lines:
        return f"No hints matching extension {number}\n"
    return f"{''.join(lines)}{len(lines)} hint{_s(len(lines))} matching extension {number}\n"


def _s(count: int) -> str:
    return "" if count == 1 else "s"
