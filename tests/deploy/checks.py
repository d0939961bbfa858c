"""Checks of template.yaml: each yields what is wrong, and is shown templates that are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import pytest

from tests.deploy.template import Template

Check: TypeAlias = Callable[[Template], Iterator[str]]
Change: TypeAlias = Callable[[Template], object]
# Each check, and changes that it must notice.
Checks: TypeAlias = Mapping[Check, Sequence[Change]]


def each_check(checks: Checks) -> pytest.MarkDecorator:
    """Have a test run for each `check`."""
    return pytest.mark.parametrize("check", checks, ids=_name)


def each_change(checks: Checks) -> pytest.MarkDecorator:
    """Have a test run for each `check` and `change`."""
    return pytest.mark.parametrize(
        ("check", "change"),
        [
            pytest.param(check, change, id=f"{_name(check)}-{number}")
            for check, changes in checks.items()
            for number, change in enumerate(changes)
        ],
    )


def _name(check: Any) -> str:
    return str(check.__name__).removeprefix("check_")


def finds_nothing(check: Check, template: Template) -> None:
    """Insist on a template that is right."""
    assert list(check(template)) == []


def finds_something(check: Check, change: Change, template: Template) -> None:
    """Insist on a check that notices a change, and nothing before it."""
    finds_nothing(check, template)
    change(template)
    assert list(check(template))
