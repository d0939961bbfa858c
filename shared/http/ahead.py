"""Requests that nobody clicked: a browser's prefetch, a chat's look at a link that was sent."""

from __future__ import annotations

import re
from collections.abc import Iterator

from starlette.datastructures import Headers

_AHEAD = frozenset({"prefetch", "prerender"})
_PREVIEW = "preview"
# As they call themselves, letter by letter.
_PREVIEWERS = frozenset(
    {
        *("TelegramBot", "WhatsApp", "Slackbot-LinkExpanding", "Slackbot", "facebookexternalhit"),
        *("Twitterbot", "vkShare", "Viber", "SkypeUriPreview", "Discordbot"),
        *("LinkedInBot", "Slack-ImgProxy", "Facebot", "meta-externalagent", "meta-externalfetcher"),
        *("redditbot", "Pinterestbot", "Iframely", "Embedly", "BingPreview", "MicrosoftPreview"),
        # And who follows a link that has got about.
        *("Googlebot", "bingbot", "YandexBot", "Applebot"),
    }
)
_PURPOSES = ("sec-purpose", "purpose", "x-purpose", "x-moz")
_SEPARATORS = re.compile(r"[\s,;]+")


def is_prefetch(headers: Headers) -> bool:
    """Whether a browser says that nobody has clicked yet."""
    return not _AHEAD.isdisjoint(_purposes(headers))


def is_preview(headers: Headers) -> bool:
    """Whether it is a look at a link, by its purpose or by a user agent's product (RFC 9110).

    A product's name counts exactly, never as a part of another's. A comment is no product, but for
    what crawlers write in theirs since browsers were sniffed for: in
    `Mozilla/5.0 (compatible; Discordbot/2.0; ...)` each part of a comment behind `compatible` is a
    product if it has the form of one.
    """
    names = (name for agent in headers.getlist("user-agent") for name in _products(agent))
    return _PREVIEW in _purposes(headers) or not _PREVIEWERS.isdisjoint(names)


def _purposes(headers: Headers) -> set[str]:
    written = ",".join(value for name in _PURPOSES for value in headers.getlist(name))
    return set(_SEPARATORS.split(written.lower()))


def _products(agent: str) -> Iterator[str]:
    """Yield each product's name, without its version."""
    products, comments = _parted(agent)
    for product in products.split():
        yield product.partition("/")[0]
    for comment in comments:
        parts = iter([part.strip() for part in comment.split(";")])
        if "compatible" in parts:
            yield from (part.partition("/")[0] for part in parts if len(part.split()) == 1)


def _parted(agent: str) -> tuple[str, list[str]]:
    """Part a user agent into what stands outside of comments, and its comments, which may nest."""
    outside: list[str] = []
    comments: list[list[str]] = []
    depth = 0
    characters = iter(agent)
    for character in characters:
        if character == "(":
            depth += 1
            if depth == 1:
                comments.append([])
                outside.append(" ")
        elif character == ")" and depth:
            depth -= 1
        elif depth == 1:
            comments[-1].append(next(characters, "") if character == "\\" else character)
        elif not depth:
            outside.append(character)
    return "".join(outside), ["".join(comment) for comment in comments]
