"""What no declaration of one operation says: the whole API, its tags, the headers of answers."""

from __future__ import annotations

from typing import Any

ABOUT = """Click-to-call and call supervision on many Asterisk hosts over SSH.

**Secrets.** Every operation but `/health`, `/ready` and `/api/status` needs the enterprise's
secret, in one of three places, the first of which counts: `Authorization: Bearer`, `X-Client-Id`,
`clientId` of the query (deprecated).

**Failures** are `application/problem+json` (RFC 9457), of one shape. `code` is for programs, and
stable; `detail` is for people. `x-codes` lists the codes of each status of each operation. What is
no HTTP/1.1 that can be read in one way (400), comes too slowly (408) or has too large a head (431)
is answered before there is an operation, in the same shape.

**Once.** The same order within seconds, or with the same `Idempotency-Key` within a day, rings
nobody again and is told what became of the first. Where phones are rung, a failure's `dialled` says
whether one may be ringing: `no` is safe to ask again.

**Sandboxes.** An operator can give an enterprise a stand-in in the place of a PBX, which rings
nobody. Every answer to it says so by `X-Sandbox: true`, each that is an object and each event by
`"sandbox": true`; nothing that a request says makes it so.

**What is to come.** Answers get new fields, and enumerations of answers new words: `x-extensible-
enum` lists those that there are, and a client takes others as it takes any text. Nothing that is
here goes away within a version 1.

**Units.** Names end in them: `_s` are seconds, `_ms` milliseconds. Times are RFC 3339 with their
offset, in UTC. Numbers and extensions are text.

A request may bring its own `X-Request-Id`, which every answer has. Answers are never kept by a
cache. `GET /api/events` is also a WebSocket of the local service, which OpenAPI cannot tell.
"""

TAGS = [
    {"name": "calls", "description": "Place, monitor, transfer and end calls: what rings phones."},
    {"name": "following", "description": "How far calls are, as it happens or on request."},
    {"name": "records", "description": "What was: the PBX's own records, and who did what."},
    {"name": "service", "description": "The service itself; without a secret."},
]

# FastAPI knows of one place, `Secret`: see shared/auth/credentials.py.
SECRETS = {
    "Bearer": {
        "type": "http",
        "description": "`Authorization: Bearer SECRET`, the enterprise's secret: the preferred way",
        "scheme": "bearer",
    },
    "ClientIdHeader": {
        "type": "apiKey",
        "description": "the enterprise's secret alone",
        "in": "header",
        "name": "X-Client-Id",
    },
    "ClientIdQuery": {
        "type": "apiKey",
        "description": "Deprecated: the enterprise's secret as in the specification. URLs end up in"
        " other people's logs; prefer a header",
        "in": "query",
        "name": "clientId",
    },
}


SANDBOX = {
    "type": "boolean",
    "description": "true: a stand-in answers the enterprise, and no phone rings; else absent",
}


def _text(description: str, example: str, **more: Any) -> dict[str, Any]:
    return {
        "description": description,
        "schema": {"type": "string", "examples": [example], **more},
    }


HEADERS = {
    "X-Request-Id": _text(
        "the request's own id, by which the log finds it; the one that the request brought, where"
        " it is well-formed",
        "72b6584cc4b846f59e9b5652d3fb2122",
    ),
    "X-Sandbox": _text(
        "the enterprise has a sandbox, where a stand-in answers and no phone rings; else absent",
        "true",
    ),
    "RateLimit": _text(
        "what is left of the limit that has least left: its name, `r` requests at once, `t` seconds"
        " until all of it is there again",
        '"extension";r=19;t=3',
    ),
    "RateLimit-Policy": _text(
        "that limit: its name, `q` requests in `w` seconds", '"extension";q=20;w=60'
    ),
    "Retry-After": {
        "description": "seconds after which to ask again",
        "schema": {"type": "integer", "minimum": 1, "examples": [5]},
    },
    "WWW-Authenticate": _text("how to send a secret", "Bearer"),
    "Location": _text(
        "where the call is told, as `call_status_url`",
        "/api/calls/7f1c0f6e-3f0b-4a44-9d53-0a6f6d0a8d11",
    ),
    "Preference-Applied": _text("that `Prefer: wait=N` was heeded (RFC 7240)", "wait=10"),
    "X-Next-Cursor": _text(
        "of a table: `cursor` of the page that follows; absent on the last", "eJwrSS0u"
    ),
    "Content-Disposition": _text(
        "with `format=excel`: the name of the file", 'attachment; filename="history.csv"'
    ),
}
