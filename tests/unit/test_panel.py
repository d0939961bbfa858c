"""The panel's pure parts: sessions, both languages, templates, the log's lines."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest

from shared.http.language import language_of
from shared.panel.actions import ACTIONS
from shared.panel.language import duration, translate_to
from shared.panel.logbook import load_entries
from shared.panel.rendering import TEMPLATES, render
from shared.panel.sessions import SESSION_S, Sessions
from shared.panel.texts import TEXTS

ROOT = Path(__file__).parents[2]
TOKEN = "panel-4a1f9c0d77be"
CODE = "\n".join(path.read_text("utf-8") for path in (ROOT / "shared" / "panel").glob("*.py"))
PAGES = {path.name: path.read_text("utf-8") for path in TEMPLATES.iterdir()}


def test_session_lasts_8_hours() -> None:
    """It is known until its end and no moment longer."""
    now = 1_000.0
    sessions = Sessions(TOKEN, clock=lambda: now)
    cookie = sessions.begin()
    now += SESSION_S - 1
    assert sessions.find(cookie)
    now += 1
    assert sessions.find(cookie) is None


def test_session_is_known_to_whoever_has_the_token_alone() -> None:
    """Another process of the same token knows it; one of another token does not."""
    cookie = Sessions(TOKEN).begin()
    assert Sessions(TOKEN).find(cookie) == Sessions(TOKEN).find(cookie) is not None
    assert Sessions(f"{TOKEN}x").find(cookie) is None


def test_session_cannot_be_made_or_prolonged() -> None:
    """Each character counts: its end, its word and its signature."""
    sessions = Sessions(TOKEN)
    cookie = sessions.begin()
    until, word, sign = cookie.split(".")
    for forged in (
        *("", ".", "..", "x" * 5_000, cookie[:-1], f"{cookie}0", f" {cookie}", f"{cookie}\n"),
        f"{int(until) + 1}.{word}.{sign}",
        f"{until}.{word[:-1]}{'A' if word[-1] != 'A' else 'B'}.{sign}",
        f"{until}.{word}.{'0' * 64}",
        f"{until}.{word}.{sign.upper()}" if sign.upper() != sign else "",
        f"٣{until[1:]}.{word}.{sign}",
    ):
        assert sessions.find(forged) is None, forged


def test_sessions_differ_in_what_their_forms_carry() -> None:
    """A form of one session is none of another; neither is the cookie's own signature."""
    sessions = Sessions(TOKEN)
    cookies = [sessions.begin(), sessions.begin()]
    one, other = map(sessions.find, cookies)
    assert one
    assert other
    assert one.csrf != other.csrf
    assert one.name != other.name
    assert one.csrf not in cookies[0]
    assert TOKEN not in repr(one) + cookies[0]


@pytest.mark.parametrize("given", ["", "x", TOKEN[:-1], f"{TOKEN} ", TOKEN.upper(), "\udcff", "й"])
def test_only_the_token_is_the_token(given: str) -> None:
    """Nothing that is near it, and nothing that cannot be encoded."""
    assert Sessions(TOKEN).is_token(TOKEN)
    assert not Sessions(TOKEN).is_token(given)


@pytest.mark.parametrize(
    ("accept", "language"),
    [
        ("", "en"),
        ("ru", "ru"),
        ("ru-RU,ru;q=0.9,en-US;q=0.8,en;q=0.7", "ru"),
        ("en-US,en;q=0.9,ru;q=0.8", "en"),
        ("be,ru;q=0.9,en;q=0.8", "ru"),
        ("de, fr;q=0.9", "en"),
        ("de,ru;q=0.3", "ru"),
        ("en;q=0.5, ru;q=0.5", "en"),
        ("ru;q=0.5, en;q=0.5", "ru"),
        ("ru;q=0, de", "en"),
        ("*", "en"),
        ("ru;q=abc;;,,", "en"),
        (",".join(["xx"] * 5_000), "en"),
    ],
)
def test_language_is_the_browsers(accept: str, language: str) -> None:
    """Of both that which it wants more, of two alike the first; English where it wants neither."""
    assert language_of(accept) == language


def placeholders(text: str) -> set[str]:
    """Name what a text is filled with."""
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("key", TEXTS)
def test_each_text_is_there_in_both_languages(key: str) -> None:
    """Both say something and are filled with the same; the Russian one is Russian."""
    russian, english = TEXTS[key]
    assert russian.strip()
    assert english.strip()
    assert placeholders(russian) == placeholders(english)
    assert not re.search("[а-яё]", english, re.IGNORECASE)
    assert re.search("[а-яё]", russian, re.IGNORECASE) or russian == english == "PID"


def used() -> set[str]:
    """Collect the keys that templates and code name, those that are made up included."""
    made_up = {
        key for key in TEXTS if key.startswith(("phase_", "reason_", "mode_", "why_", "limit_"))
    }
    text = CODE + "\n".join(PAGES.values())
    return made_up | {key for key in TEXTS if re.search(rf"""["']{key}["'](?!: \()""", text)}


def test_no_text_is_left_over_and_none_is_missing() -> None:
    """Each text is used somewhere; whatever a template names is there."""
    assert set(TEXTS) - used() == set()
    named = {key for page in PAGES.values() for key in re.findall(r'\bt\("(\w+)"[,)]', page)}
    assert len(named) > 50
    assert named <= set(TEXTS)


def test_each_form_of_a_page_leads_to_an_action() -> None:
    """No form changes anything by another path than that of all changes."""
    sent = {
        path
        for page in PAGES.values()
        for form in re.findall(r'<form method="post"[^>]*action="/admin/([^"]+)"', page)
        for path in [form.partition("{{")[0]]
    }
    known = {"log-in", "log-out", "check", "do/"}
    assert {f"do/{name}" for name in ACTIONS} - sent <= {"do/stop-dialling", "do/let-dial"}
    assert sent - known <= {f"do/{name}" for name in ACTIONS}
    for name, page in PAGES.items():
        forms = re.findall(r'<form method="post"', page)
        fields = re.findall(r'name="csrf" value="{{ csrf }}"', page)
        assert len(forms) == len(fields) or name == "log_in.html", name


def test_what_others_chose_is_escaped() -> None:
    """Markup is text, and what would turn the direction of writing is shown."""
    page = render(
        "error.html",
        "ru",
        layout="part.html",
        said="<script>alert(1)</script>",
        remedy="a\u202eb\x00",
    )
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "a\\u202eb\\u0000" in page


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (-1, "0 с"),
        (0.9, "0 с"),
        (59, "59 с"),
        (60, "1 мин"),
        (3_661, "1 ч 1 мин"),
        (90_000, "1 д 1 ч"),
    ],
)
def test_time_is_written_in_its_two_largest_units(seconds: float, written: str) -> None:
    """As a person would say it."""
    assert duration(translate_to("ru"), seconds) == written


_REQUEST = "GET /api/makecallexternal?code=150&phone=%2B375296254070"
LOG = f"""\
2026-11-27 08:00:20,000 - asterisk - INFO - 🚀 150 -> +375296254070 [request_id=aa call_id=c1]
2026-11-27 08:00:21,000 - asterisk - INFO - 🏁 Успех: "{_REQUEST}" 200 [request_id=aa call_id=c1]
2026-11-27 08:00:22,000 - asterisk - ERROR - ❌ Внутренняя ошибка [request_id=bb call_id=-]
  Traceback (most recent call last):
  ValueError: <b>
2026-11-27 08:00:23,000 - asterisk - WARNING - 🏁 Отказ: "GET /api/calls" 401, предприятие 0367 \
[request_id=cc call_id=-]
"""


def test_requests_are_read_from_the_logs_end(tmp_path: Path) -> None:
    """The newest first: how each ended; with a text to find, all lines that have it."""
    log = tmp_path / "service.log"
    log.write_text(LOG, "utf-8")
    ended = load_entries(str(log), "")
    assert ended is not None
    assert [entry.request_id for entry in ended] == ["cc", "aa"]

    def found(wanted: str) -> list[str]:
        return [entry.at[-2:] for entry in load_entries(str(log), wanted) or ()]

    assert found("aa") == found("c1") == found("+375296254070") == ["21", "20"]
    assert found("0367") == ["23"]
    assert found("valueerror") == ["22"]
    assert found("nothing") == []
    (error,) = load_entries(str(log), "bb") or ()
    assert error.text.split("\n")[1:] == [
        "  Traceback (most recent call last):",
        "  ValueError: <b>",
    ]


def test_no_more_of_the_log_is_read_than_its_end(tmp_path: Path) -> None:
    """Of a file of any size the last 2 MiB: what is before is not found, nor half a line."""
    log = tmp_path / "service.log"
    line = LOG.splitlines()[1].replace("request_id=aa", "request_id={}")
    with log.open("w", encoding="utf-8") as file:
        for number in range(40_000):
            file.write(f"{line.format(number)}\n")
    assert log.stat().st_size > 4 * 2**20
    assert load_entries(str(log), "request_id=0 ") == ()
    entries = load_entries(str(log), "")
    assert entries is not None
    assert [entry.request_id for entry in entries] == [str(n) for n in range(39_999, 39_799, -1)]


def test_without_a_log_file_there_is_nothing_to_read(tmp_path: Path) -> None:
    """LOG_FILE may be empty, not written yet, or bytes that are no text."""
    assert load_entries("", "x") is None
    assert load_entries(str(tmp_path / "none.log"), "x") is None
    odd = tmp_path / "odd.log"
    odd.write_bytes(bytes(range(256)) * 100)
    assert load_entries(str(odd), "") == ()
