"""Every answer that a test gets is one that OpenAPI describes of its operation."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import httpx

from shared.http.failures import CODES
from tests.describe import described

# HTTP's own, of no operation.
_NONE_S = {404: "not-found", 405: "method-not-allowed"}


@cache
def _operations() -> list[tuple[str, re.Pattern[str], dict[str, Any]]]:
    return [
        (method.upper(), re.compile(re.sub("{[a-z_]+}", "[^/]+", path)), operation["responses"])
        for path, methods in described()["paths"].items()
        for method, operation in methods.items()
    ]


async def check_described(answer: httpx.Response) -> None:
    """Fail where an answer has a status or a code that its operation is not said to have."""
    request = answer.request
    for method, path, responses in _operations():
        if request.method != method or not path.fullmatch(request.url.path):
            continue
        told = responses.get(str(answer.status_code))
        where = f"{method} {request.url.path}: {answer.status_code}"
        code = None
        if answer.headers.get("content-type", "").startswith("application/problem"):
            await answer.aread()
            code = answer.json()["code"]
            if _NONE_S.get(answer.status_code) == code:
                continue
        assert told is not None, f"{where} {code} is not described"
        assert code is None or code in told[CODES], f"{where} {code} is not described"
        unknown = {"ratelimit", "retry-after", "location", "x-next-cursor", "preference-applied"}
        unknown &= {name.lower() for name in answer.headers}
        unknown -= {name.lower() for name in told["headers"]}
        assert not unknown, f"{where}: {unknown} are not described"
