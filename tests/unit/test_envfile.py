"""A file of settings is read to the letter, never executed; what is none is told by its line."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from deploy.envfile import Malformed, Setting, parse

# Whatever a parser may stumble over, more often than chance would have it.
TEXTS = st.text(st.one_of(st.sampled_from("AB_19=#'\"\\ \t\r\n\0$`"), st.characters()))
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=p$ss word&1", "p$ss word&1"),
        ("A=$(id);`id`|x>y*?~\\n", "$(id);`id`|x>y*?~\\n"),
        ("export A=1", "1"),
        ("  export\t A=1  ", "1"),
        ("A=", ""),
        ("A=a=b", "a=b"),
        ("A=it's", "it's"),
        ("A=#1", "#1"),
        ("A=a#b", "a#b"),
        ("A=a b   # why", "a b"),
        ("A= # empty", ""),
        ("A=' p$ss # \"word\" '", ' p$ss # "word" '),
        ("A='a\\'", "a\\"),
        ("A='x' # why", "x"),
        ('A="p$ss # word"', "p$ss # word"),
        (r'A="a\"b\\c\$d\`e\n"', r'a"b\c$d`e\n'),
        ("A='one\ntwo\n'", "one\ntwo\n"),
        ("A=1\r\n", "1"),
        ("\ufeffA=1", "1"),
        ("A='B=1 CD=2'", "B=1 CD=2"),
        ("A=b cd=2", "b cd=2"),
    ],
)
def test_a_value_is_what_stands_there(line: str, value: str) -> None:
    """Nothing is expanded or executed; quotes, a comment and the space around are not the value."""
    assert list(parse(line)) == [Setting("A", value)]


def test_settings_come_in_their_order_among_comments() -> None:
    """Blank lines and comments are none; a name may come twice, and the later one is meant."""
    text = "# PBX\n\nSSH_PORT=22\n  # old\n\t\nexport SSH_PORT=23\n"
    assert list(parse(text)) == [Setting("SSH_PORT", "22"), Setting("SSH_PORT", "23")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("A=1\nB", "line 2: must be NAME=VALUE, or a comment that begins with #"),
        ("A =1", "line 1: must be NAME=VALUE"),
        ("1A=1", "line 1: must be NAME=VALUE"),
        ("=1", "line 1: must be NAME=VALUE"),
        ("export", "line 1: must be NAME=VALUE"),
        ("Ж=1", "line 1: must be NAME=VALUE"),
        ("A='\n\n'\nB='x", "line 4: the quote is not closed"),
        ('A="x\\"', "line 1: the quote is not closed"),
        ("\n\nA='x'y", "line 3: something follows the closing quote"),
        ("A='x\ny' z\n", "line 1: something follows the closing quote"),
        ("export POSTGRES_USER=calls POSTGRES_DB=calls", "line 1: a second NAME= follows"),
        ("A=\0", "line 1: no value has the character NUL"),
        ("A='\0'", "line 1: no value has the character NUL"),
    ],
)
def test_a_line_that_is_no_setting_is_told_by_its_number(text: str, said: str) -> None:
    """The number is that of the line where the setting begins."""
    with pytest.raises(Malformed, match=f"^{re.escape(said)}"):
        list(parse(text))


@pytest.mark.parametrize("text", ["hunter2", "A='hunter2", "A='x' hunter2", "A=x B2=hunter2"])
def test_a_malformed_line_is_not_repeated(text: str) -> None:
    """It may be a secret that lost its name."""
    with pytest.raises(Malformed) as caught:
        list(parse(text))
    assert "hunter2" not in str(caught.value)


@given(TEXTS)
@example("A='")
@example('A="\\')
@example("\n" * 40 + "A")
def test_any_text_is_settings_or_a_numbered_line(text: str) -> None:
    """No text makes it fail otherwise, and the number is one of the text's lines."""
    try:
        settings = list(parse(text))
    except Malformed as error:
        match = re.match(r"line (\d+): ", str(error))
        assert match is not None
        assert 1 <= int(match[1]) <= text.count("\n") + 1
    else:
        assert all(re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name) for name, _ in settings)
        assert not any("\0" in value for _, value in settings)


@given(NAMES, st.text(st.characters(exclude_characters="'\0", exclude_categories=["Cs"])))
def test_what_is_quoted_comes_back(name: str, value: str) -> None:
    """Between single quotes any text but theirs is the value, letter by letter."""
    assert list(parse(f"{name}='{value}'")) == [Setting(name, value.replace("\r\n", "\n"))]


@given(NAMES, st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_what_is_escaped_comes_back(name: str, value: str) -> None:
    """Between double quotes any text is, where a backslash stands before the four that need one."""
    escaped = re.sub(r'([\\"$`])', r"\\\1", value)
    assert list(parse(f'{name}="{escaped}"')) == [Setting(name, value.replace("\r\n", "\n"))]
