"""A Telegram bot: send it a number, press the button, see the call move, hang up.

    TELEGRAM_TOKEN=... CALLS_URL=http://127.0.0.1:8018 CALLS_SECRET=... USERS=1001:154,1002:151 \
        python telegram_bot.py

`USERS` says which extension rings for whom; nobody else is listened to. An update that Telegram
sends again, or that a bot which died had not confirmed, has the same `update_id`: it rings once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from typing import Any

import httpx
from asterisk_calls import AsyncCalls, CallsError, OutcomeUnknown

PHASES = {
    "accepted": "⏳ Принято",
    "agent_ringing": "📱 Звонит ваш телефон",
    "agent_answered": "✅ Вы ответили",
    "customer_ringing": "🔔 Звонит у клиента",
    "talking": "🗣 Разговор",
}
LOG = logging.getLogger("telegram_bot")
REASONS = {"answered": "поговорили", "busy": "занято", "no_answer": "не отвечает"}


class Bot:
    """The bot; `telegram` has `https://api.telegram.org/bot<TOKEN>/` as its base URL."""

    def __init__(
        self, telegram: httpx.AsyncClient, calls: AsyncCalls, users: dict[int, str]
    ) -> None:
        self._telegram = telegram
        self._calls = calls
        self._users = users
        self._watching: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Take updates, for ever; one is confirmed once it is done, by asking for what follows."""
        offset = 0
        while True:
            asked = {
                "offset": offset,
                "timeout": 25,
                "allowed_updates": ["message", "callback_query"],
            }
            updates = await self.ask("getUpdates", **asked)
            if updates is None:  # another bot has the same token, say
                await asyncio.sleep(5)
            for update in updates or []:
                try:
                    await self.take(update)
                except Exception:  # of an update that is not confirmed nobody sees the next one
                    LOG.exception("Left out: update %s", update["update_id"])
                offset = update["update_id"] + 1

    async def ask(self, method: str, **what: Any) -> Any:
        """Ask Telegram; later, if it wants that, and as long as it is away. None: refused."""
        while True:
            try:
                answer = (await self._telegram.post(method, json=what)).json()
            except (httpx.TransportError, json.JSONDecodeError, UnicodeDecodeError):
                await asyncio.sleep(1)
                continue
            if answer["ok"]:
                return answer["result"]
            if answer["error_code"] < 429:  # noqa: PLR2004 - 400: "not modified", say
                LOG.warning("%s: %s", method, answer.get("description"))
                return None
            await asyncio.sleep(answer.get("parameters", {}).get("retry_after", 1))

    async def take(self, update: dict[str, Any]) -> None:
        """Do what somebody wants who may."""
        pressed = update.get("callback_query")
        extension = self._users.get((pressed or update["message"])["from"]["id"])
        if extension is None:
            return
        if pressed is None:
            number = "".join(filter("+0123456789".__contains__, update["message"].get("text", "")))
            if not number:
                return
            button = {"text": f"📞 {number}", "callback_data": f"call:{number}"[:64]}
            await self.say(update["message"]["chat"]["id"], "Позвонить?", button)
            return
        what, _, subject = pressed["data"].partition(":")
        message = pressed["message"]
        act = (
            self.hang_up(subject)
            if what == "hangup"
            else self.call(extension, subject, update["update_id"], message)
        )
        said = await act
        # Until it is answered the button spins.
        await self.ask("answerCallbackQuery", callback_query_id=pressed["id"], text=said[:200])

    async def call(self, extension: str, number: str, update_id: int, message: Any) -> str:
        """Ring the extension, then the number; the message follows the call."""
        try:
            placed = await self._calls.create_call(extension, number, key=f"telegram-{update_id}")
        except OutcomeUnknown:
            return "Возможно, телефон уже звонит: подождите"
        except CallsError as error:
            return f"Не звоним: {error.detail}"
        task = asyncio.create_task(self.watch(placed["call_id"], number, message))
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)
        return "Уже звоним" if placed["repeated"] else "Звоним"

    async def hang_up(self, call_id: str) -> str:
        """End the call."""
        try:
            await self._calls.hang_up_call(call_id)
        except CallsError as error:
            return error.detail
        return "Кладём трубку"

    async def watch(self, call_id: str, number: str, message: Any) -> None:
        """Edit the message as the phase moves."""
        where = {"chat_id": message["chat"]["id"], "message_id": message["message_id"]}
        async for call in self._calls.watch(call_id):
            text = f"{number}: {PHASES.get(call['phase'], call['phase'])}"
            buttons = [[{"text": "Положить трубку", "callback_data": f"hangup:{call_id}"}]]
            if call["phase"] == "ended":
                reason = REASONS.get(call["reason"] or "", call["reason"])
                text, buttons = f"{number}: ☎️ {reason}, {call['talk_s'] or 0} с", []
            await self.ask(
                "editMessageText", **where, text=text, reply_markup={"inline_keyboard": buttons}
            )

    async def say(self, chat_id: int, text: str, button: dict[str, str]) -> None:
        """Send a message with one button."""
        keyboard = {"inline_keyboard": [[button]]}
        await self.ask("sendMessage", chat_id=chat_id, text=text, reply_markup=keyboard)


async def main() -> None:
    """Run it until Ctrl-C."""
    pairs = (pair.split(":") for pair in os.environ["USERS"].split(","))
    users = {int(user): extension for user, extension in pairs}
    url = f"https://api.telegram.org/bot{os.environ['TELEGRAM_TOKEN']}/"
    async with (
        httpx.AsyncClient(base_url=url, timeout=40) as telegram,
        AsyncCalls(os.environ["CALLS_URL"], os.environ["CALLS_SECRET"]) as calls,
    ):
        await Bot(telegram, calls, users).run()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
