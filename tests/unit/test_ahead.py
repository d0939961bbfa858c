"""What nobody clicked is known by its own words, letter by letter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from shared.http.ahead import is_prefetch, is_preview

# As they call themselves.
PREVIEWS = [
    "TelegramBot (like TwitterBot)",
    "WhatsApp/2.23.20.0",
    "WhatsApp/2.19.81 A",
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    "Slackbot 1.0 (+https://api.slack.com/robots)",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    "facebookexternalhit/1.1 Facebot Twitterbot/1.0",
    "Twitterbot/1.0",
    "Mozilla/5.0 (compatible; vkShare; +http://vk.com/dev/Share)",
    "Viber/17.0.0",
    "Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5",
    "Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)",
    "x (a (b\\) c) d) Viber",
    "LinkedInBot/1.0 (compatible; Mozilla/5.0; Apache-HttpClient +http://www.linkedin.com)",
    "meta-externalagent/1.1 (+https://developers.facebook.com/docs/sharing/webmasters/crawler)",
    "Mozilla/5.0 (compatible; Embedly/0.2; +http://support.embed.ly/)",
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; MicrosoftPreview/2.0)",
    "Mozilla/5.0 (compatible; YandexBot/3.0; +http://yandex.com/bots)",
]
PEOPLE = [
    "",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/130.0 Safari/537.36",
    "MyTelegramBot/1.0",
    "TelegramBotClient/1.0",
    "telegrambot",
    "TelegramBot-SDK",
    "crm (TelegramBot)",
    "crm (like TelegramBot; WhatsApp)",
    "crm/TelegramBot",
    "crm (compatible; for TelegramBot)",
    "crm (compatible; (Discordbot/2.0))",
    "crm (Discordbot/2.0; compatible)",
    "crm (incompatible; Discordbot/2.0)",
    "Googlebot-like/1.0",
    "Slackbot-Linkexpanding",
    "Viberation/1.0",
    "crm ((Viber) ",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) WhatsAppBusiness/2.0",
]


def headers(**fields: str) -> Headers:
    """Make headers."""
    return Headers({name.replace("_", "-"): value for name, value in fields.items()})


@pytest.mark.parametrize("agent", PREVIEWS)
def test_a_chat_or_a_crawler_is_known_by_its_product(agent: str) -> None:
    """Each as it calls itself, in a comment only where a crawler's stands."""
    assert is_preview(headers(user_agent=agent))


@pytest.mark.parametrize("agent", PEOPLE)
def test_no_part_of_a_name_is_one(agent: str) -> None:
    """Another product, another case, a word of a comment: whoever asks is served."""
    assert not is_preview(headers(user_agent=agent))


@pytest.mark.parametrize(
    ("fields", "prefetch", "preview"),
    [
        ({"sec_purpose": "prefetch;anonymous-client-ip"}, True, False),
        ({"sec_purpose": "prefetch, prerender"}, True, False),
        ({"purpose": "prerender"}, True, False),
        ({"x_moz": "PREFETCH"}, True, False),
        ({"purpose": "preview"}, False, True),
        ({"x_purpose": "Preview"}, False, True),
        ({"purpose": "no-prefetch"}, False, False),
        ({"x_purpose": "previewed"}, False, False),
        ({"x_preview": "preview"}, False, False),
    ],
)
def test_a_purpose_is_a_word(fields: dict[str, str], *, prefetch: bool, preview: bool) -> None:
    """Whole words alone, in any case."""
    assert (is_prefetch(headers(**fields)), is_preview(headers(**fields))) == (prefetch, preview)


@given(agent=st.text(st.sampled_from("()\\; /aViber1"), max_size=60))
def test_no_agent_is_too_odd(agent: str) -> None:
    """Parentheses that do not match and backslashes at the end are read as they stand."""
    assert is_preview(headers(user_agent=agent)) in {True, False}
    assert is_preview(headers(user_agent=f"Viber {agent}"))
