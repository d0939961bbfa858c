"""Why something could not be done, as a page tells it."""

from __future__ import annotations

from shared.errors import DatabaseUnavailable, ServiceError
from shared.operate.command import explain
from shared.operate.findings import reason_of
from shared.panel.language import Translate
from shared.panel.saying import Say
from shared.store.database import Database
from shared.store.sqlstates import AccessRefused, TextRefused


class Refused(Exception):
    """What was asked for cannot be done; `key` is the text that says why."""

    def __init__(self, key: str, *, status: int = 409, **values: object) -> None:
        super().__init__(key)
        self.key = key
        self.status = status
        self.values = values


class Said(Refused):
    """Likewise, in words that are somebody else's: an operator's command, say."""

    def __init__(self, text: str, *, status: int = 409) -> None:
        super().__init__(text, status=status)


def tell(
    error: Exception, translate: Translate, say: Say, database: Database
) -> tuple[int, str, str]:
    """Write an error: its status, a sentence, and what to do, if that is known."""
    match error:
        case Said():
            return error.status, say(error.key), ""
        case Refused():
            return error.status, translate(error.key, **error.values), ""
        case TextRefused():  # no name in the database can be so
            return 404, translate("not_found"), ""
        case AccessRefused():
            return error.status, translate("no_right"), error.reason
        case DatabaseUnavailable():
            why = explain(error, database)
            return error.status, translate("no_database", why=why), ""
        case ServiceError():
            return error.status, say(reason_of(error)), ""
    raise TypeError from error
