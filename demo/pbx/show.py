"""What `dialplan show` and `core show hint` print."""

from demo.pbx.calls import Exchange
from demo.pbx.dialplan import CONTEXTS, Context, find_hints, matching


def show_dialplan(exchange: Exchange, words: str, line: str) -> str:
    """Answer `dialplan show [[exten@]context]`; `line` is the command as it was typed."""
    number, at, name = words.rpartition("@")
    contexts = CONTEXTS if exchange.dialplan_loaded else {}
    if words and name not in contexts:
        return f"There is no existence of '{name}' context\nCommand '{line}' failed.\n"
    chosen = [contexts[name]] if words else list(contexts.values())
    blocks = [_block(context, number if at else None, exchange) for context in chosen]
    if at and number:
        blocks += [
            _block(contexts[include], number, exchange, included=True)
            for include in contexts[name].includes
        ]
    text = "".join(block for block, _ in blocks)
    found = [
        extension
        for context in chosen + ([contexts[i] for i in chosen[0].includes] if at else [])
        for extension in matching(context, number or None).extensions
    ]
    if not found and at:
        return f"{text}There is no existence of {words} extension\nCommand '{line}' failed.\n"
    priorities = sum(len(extension.steps) for extension in found)
    return text + (
        f"-= {len(found)} extension{_s(len(found))} ({priorities} "
        f"{'priority' if priorities == 1 else 'priorities'}) in "
        f"{len(chosen)} context{_s(len(chosen))}. =-\n"
    )


def _block(
    context: Context, number: str | None, exchange: Exchange, *, included: bool = False
) -> tuple[str, int]:
    shown = matching(context, number or None)
    lines = []
    if shown.extensions or not number:
        kind = "Included context" if included else "Context"
        lines.append(f"[ {kind} '{context.name}' created by 'pbx_config' ]")
    for extension in shown.extensions:
        for index, step in enumerate(extension.steps):
            head = f"'{extension.pattern}' =>" if index == 0 else ""
            text = step.replace("{tech}", exchange.technology)
            if not extension.is_hint:
                text = f"{index + 1}. {text}"
            lines.append(f"  {head:<17} {text:<45} [extensions.conf:{extension.line + index}]")
    if not number:
        for include in context.includes:
            quoted = f"'{include}'"
            lines.append(f"  {'Include =>':<17} {quoted:<45} [pbx_config]")
    for switch in context.switches:
        quoted = f"'{switch}'"
        lines.append(f"  {'Alt. Switch =>':<17} {quoted:<45} [pbx_config]")
    if shown.extensions or not number:
        lines.append("")
    return "".join(f"{line}\n" for line in lines), len(shown.extensions)


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
