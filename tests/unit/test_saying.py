"""What `check` says is said in Russian on a Russian page: every line, every remedy, all of it."""

from __future__ import annotations

import re
import string

import pytest

from shared.asterisk.releases import Release, how_tried
from shared.errors import AuthenticationFailed, NoSuchCall
from shared.operate import hostlines, lines
from shared.operate.command import no_enterprise
from shared.operate.findings import Finding, Line, Words, as_json, as_lines, reason_of
from shared.panel import hostlines as russian_hostlines
from shared.panel import lines as russian_lines
from shared.panel.saying import RUSSIAN, say_in

RU, EN = say_in("ru"), say_in("en")
PAIRS = [
    pytest.param(line, translated.LINES.get(name, ("", "")), id=name)
    for module, translated in ((lines, russian_lines), (hostlines, russian_hostlines))
    for name, line in vars(module).items()
    if isinstance(line, Line)
]
# These have no words, or are an address, a command or a protocol's name.
WORDLESS = re.compile(r"(\{\w+\}[,; ]*)*|\./asterisk\.sh .*|SFTP|originate")


def gaps(text: str) -> set[str]:
    """Name what a text is filled with."""
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def check_pair(english: str, russian: str) -> None:
    """Both say something, with the same gaps; the Russian one is Russian."""
    assert bool(english) == bool(russian)
    assert gaps(english) == gaps(russian)
    assert re.search("[а-яё]", russian, re.IGNORECASE) or WORDLESS.fullmatch(english), english


@pytest.mark.parametrize(("line", "russian"), PAIRS)
def test_every_line_and_remedy_is_there_in_both_languages(
    line: Line, russian: tuple[str, str]
) -> None:
    """With the same gaps, and a name; whoever adds one has to say it twice."""
    check_pair(line.detail, russian[0])
    check_pair(line.remedy, russian[1])
    check_pair(line.name, RUSSIAN[line.name])
    assert (RUSSIAN[line.detail], RUSSIAN[line.remedy]) == russian


def test_no_russian_line_is_left_over() -> None:
    """Each is one of the table's."""
    known = {param.id for param in PAIRS}
    assert {*russian_lines.LINES, *russian_hostlines.LINES} == known


@pytest.mark.parametrize("kind", hostlines.REMEDIES)
def test_every_error_that_has_a_remedy_is_said_in_russian(kind: type[Exception]) -> None:
    """What it is, with the service's own sentence, and what helps."""
    remedy = hostlines.REMEDIES[kind]  # type: ignore[index] # a key of that very table
    reason, russian = russian_hostlines.ERRORS[kind.code]  # type: ignore[attr-defined] # of the tree
    check_pair("{reason}", reason)
    check_pair(remedy, russian)
    assert re.search("[а-яё]", reason)


@pytest.mark.parametrize("english", russian_lines.WORDS)
def test_words_that_fill_gaps_have_the_same_gaps(english: str) -> None:
    """Neither language asks for what the other is not given."""
    assert gaps(english) == gaps(russian_lines.WORDS[english])


@pytest.mark.parametrize("branch", range(10, 24))
def test_how_a_release_was_tried_is_said_in_russian(branch: int) -> None:
    """Each of those that were run, and the others."""
    assert re.search("[а-яё]", RU(how_tried(Release(branch, 1))))


def test_a_line_is_said_with_all_that_fills_it() -> None:
    """Words within words as well, and what a PBX or a database chose as it is."""
    error = AuthenticationFailed("192.0.2.10 does not accept {the} password")
    remedy = Words.of(hostlines.REMEDIES[AuthenticationFailed], host="192.0.2.10", port=22)
    finding = hostlines.FAILED(reason=reason_of(error), remedy=remedy)
    named = Finding("log-in", finding.state, finding.detail, finding.remedy)
    (line,) = as_lines([named], RU)
    assert line == (
        "❌ вход: АТС не принимает наш логин, пароль или ключ (192.0.2.10 does not accept {the}"
        " password). Задайте SSH_USER и SSH_PASSWORD или SSH_PRIVATE_KEY так, как их принимает"
        " sshd на 192.0.2.10"
    )
    (line,) = as_lines([named])
    assert line.startswith(
        "❌ log-in: 192.0.2.10 does not accept {the} password. Set SSH_USER, and"
    )
    weak = lines.SECRET_WEAK(length=Words.of("{count} characters", count=5), good=16)
    assert RU(weak.detail) == "символов: 5: его можно подобрать"
    assert EN(weak.detail) == "5 characters: it can be guessed"
    assert RU(no_enterprise("9", ["0367"])) == "Предприятия 9 нет. Ближайшие: 0367"


def test_what_has_no_russian_text_stays_as_it_is() -> None:
    """An error of another kind, or a sentence of the settings."""
    assert RU("LOG_FIEL is no setting") == "LOG_FIEL is no setting"
    assert RU(Words.named("no-such-code", "Some {odd} sentence", reason="x")) == (
        "Some {odd} sentence"
    )
    assert RU(reason_of(NoSuchCall())) == "такого звонка нет"


def test_json_has_the_english_texts_alone() -> None:
    """What they were made of is nobody's to read."""
    told = "".join(as_json([lines.SECRET_WEAK(length="blank", good=16)]))
    assert '"detail": "blank: it can be guessed"' in told
    assert "template" not in told
