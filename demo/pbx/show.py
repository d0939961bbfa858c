"""What `dialplan show` and `core show hint` print."""

from dataclasses import dataclass, field

from demo.pbx.calls import Exchange
from demo.pbx.dialplan import CONTEXTS, Extension, find_hints


def show_dialplan(exchange: Exchange, words: str, line: str) -> str:
    """Answer `dialplan show [[exten@]context]`; `line` is the command as it was typed."""
    number, _, name = words.rpartition("@")
    contexts = list(CONTEXTS) if exchange.dialplan_loaded else []
    if words and name not in contexts:
        return f"There is no existence of '{name}' context\nCommand '{line}' failed.\n"
    listing = Listing(exchange.technology, number)
    for context in [name] if words else contexts:
        listing.add(context)
    text = "".join(f"{shown}\n" for shown in listing.lines)
    if number and not listing.extensions:
        return f"{text}There is no existence of {words} extension\nCommand '{line}' failed.\n"
    return f"{text}{listing.summary()}\n"


@dataclass(slots=True)
class Listing:
    """What `dialplan show` prints: all of the contexts added, or what `number` matches there."""

    technology: str
    number: str
    lines: list[str] = field(default_factory=list)
    contexts: int = 0
    extensions: int = 0
    priorities: int = 0

    def add(self, name: str, *, kind: str = "Context") -> None:
        """List a context; for a number it is named only if it, and not an include, matches."""
        context = CONTEXTS[name]
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
            text = step.replace("{tech}", self.technology)
            if not extension.is_hint:
                text = f"{index + 1}. {text}"
            self._add_row(head, text, f"extensions.conf:{extension.line + index}")

    def _add_row(self, head: str, text: str, origin: str) -> None:
        self.lines.append(f"  {head:<17} {text:<45} [{origin}]")


def show_hint(exchange: Exchange, number: str) -> str:
    """Answer `core show hint NUMBER`: chan_sip says Idle even during a call, as it does."""
    widths = (20, 20) if exchange.technology == "SIP" else (30, 60)
    lines = []
    for extension, context in find_hints(number) if exchange.dialplan_loaded else ():
        device = extension.steps[0].removeprefix("hint: ").replace("{tech}", exchange.technology)
        busy = exchange.technology == "PJSIP" and any(
            live.name.startswith(f"{device}-") for live in exchange.channels.snapshot()
        )
        state = "InUse" if busy else "Idle"
        uri = f"{extension.pattern}@{context.name}"
        lines.append(
            f"{uri:<{widths[0]}}: {device:<{widths[1]}}  State:{state:<15} "
            f"Presence:{'not_set':<15} Watchers {0:>2}\n"
        )
    if not lines:
        return f"No hints matching extension {number}\n"
    return f"{''.join(lines)}{len(lines)} hint{_s(len(lines))} matching extension {number}\n"


def _s(count: int) -> str:
    return "" if count == 1 else "s"
