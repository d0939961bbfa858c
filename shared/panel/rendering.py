"""Pages from templates: whatever a database, a PBX or a log chose is escaped. All of Jinja2."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from shared.http.language import Language
from shared.operate import times
from shared.panel.language import duration, translate_to
from shared.panel.saying import say_in
from shared.telemetry import printable

TEMPLATES = Path(__file__).parent / "templates"


def _finalized(value: object) -> object:
    """Show what no reader would see, as marks that turn the direction of writing."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return printable(value)
    return value


_ENVIRONMENT = Environment(
    loader=FileSystemLoader(TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=_finalized,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters["moment"] = times.shown


def render(template: str, language: Language, **values: object) -> str:
    """Render a page; `t`, `say` and `lasting` write texts and times in its language."""
    translate = translate_to(language)
    own = {"t": translate, "lasting": partial(duration, translate), "language": language}
    own["say"] = say_in(language)
    return _ENVIRONMENT.get_template(template).render(own | values)
