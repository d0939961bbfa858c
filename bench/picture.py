"""Bars, as SVG."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

_WIDTH, _LABELS, _BAR, _GAP = 760, 290, 16, 6
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#444}.t{font-weight:600}.v{font-size:12px}"
    "rect{fill:#4a7db8}rect:first-of-type{fill:#2f9e6e}"
    "@media(prefers-color-scheme:dark){text{fill:#ccc}}"
)


def draw(charts: Iterable[tuple[str, Sequence[tuple[str, float]]]]) -> str:
    """Draw charts below each other, each of a title and its bars' names and lengths."""
    parts, y = [], 24
    for title, bars in charts:
        parts.append(f'<text class="t" x="8" y="{y}">{escape(title)}</text>')
        y += 12
        longest = max((value for _, value in bars), default=0) or 1
        lines = []
        for name, value in bars:
            length = max(1, (_WIDTH - _LABELS - 80) * value / longest)
            middle = y + _BAR - 4
            lines.append(
                f'<text x="{_LABELS - 8}" y="{middle}" text-anchor="end">{escape(name)}</text>'
                f'<rect x="{_LABELS}" y="{y}" width="{length:.1f}" height="{_BAR}" rx="2"/>'
                f'<text class="v" x="{_LABELS + length + 6:.1f}" y="{middle}">{value:.3g}</text>'
            )
            y += _BAR + _GAP
        parts.append(f"<g>{''.join(lines)}</g>")
        y += 28
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y}" width="{_WIDTH}"'
        f' height="{y}" role="img">\n<style>{_STYLE}</style>\n{body}\n</svg>\n'
    )
