"""Roles as colours: one place that says how ok, warn, bad, busy, unknown, muted and accent look in any theme.

Colour is never the only sign; whoever uses a role shows a word or a glyph too.
"""

from __future__ import annotations

from typing import Final

ROLES: Final = ("ok", "warn", "bad", "busy", "unknown", "muted", "accent")
ROLE_CLASSES: Final = frozenset(f"role--{role}" for role in ROLES)

_STYLES: Final = {
    "ok": "color: $success;",
    "warn": "color: $warning;",
    "bad": "color: $text-error; text-style: bold;",
    "busy": "color: $accent;",
    "unknown": "color: $secondary;",
    "muted": "text-style: dim;",
    "accent": "color: $primary; text-style: bold;",
}

CONTENT_STYLES: Final = {
    "ok": "$success",
    "warn": "$warning",
    "bad": "bold $text-error",
    "busy": "$accent",
    "unknown": "$secondary",
    "muted": "dim",
    "accent": "bold $primary",
    "": "",
}
"""The same roles as styles of `Content` parts."""


def role_css(widget: str) -> str:
    """The rules that give a line-API widget of this name its role styles."""
    return "\n".join(f"{widget} > .role--{role} {{ {style} }}" for role, style in _STYLES.items())


CURSOR_CSS: Final = "background: $block-cursor-background; color: $block-cursor-foreground; text-style: bold;"
