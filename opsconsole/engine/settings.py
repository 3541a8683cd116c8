"""settings.toml in the home: small, typed, every wrong line named and the default used instead."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Settings:
    """`notes` says what was wrong in the file, one sentence each, with the line where it stands.

    A team's console is captive unless `captive` is false. `password_days` is how long a password is good (0: for
    ever), `mail_credential` the name of a stored password,
    `start` the screen the console begins with,
    `exchange` a directory with one directory per user, the only place where a captive console saves anything.
    """

    mode: str = "personal"
    language: str = "en"
    read_only: bool = False
    captive: bool = False
    default_environment: str = "default"
    min_uptime: float = 3.0
    action_timeout: float = 90.0
    snapshot_timeout: float = 20.0
    connect_timeout: float = 10.0
    connect_limit: int = 50
    deadman_seconds: int = 120
    budget_prod: int = 200
    budget_stage: int = 500
    budget_dev: int = 2000
    approval_hours: float = 24.0
    break_glass: bool = True
    webhook: str = ""
    webhook_ca: str = ""
    task_above: int = 5
    tasks_at_once: int = 20
    tasks_per_host: int = 4
    worker_idle: float = 60.0
    output_days: int = 30
    ssh_files: str = "system"
    theme: str = "auto"
    start: str = "services"
    mouse: bool = True
    anchors: tuple[str, ...] = ()
    session_hours: int = 12
    password_days: int = 0
    mail_host: str = ""
    mail_port: int = 587
    mail_security: str = "starttls"
    mail_ca: str = ""
    mail_sender: str = ""
    mail_credential: str = ""
    mail_timeout: float = 15.0
    notify_to: tuple[str, ...] = ()
    exchange: str = ""
    database_url: str = ""
    notes: tuple[str, ...] = field(default=())


_CHOICES = {
    "mode": ("personal", "team"),
    "language": ("en", "ru"),
    "ssh_files": ("system", "home"),
    "mail_security": ("starttls", "tls", "none"),
    "start": ("services", "home"),
    "theme": ("auto", "terminal", "dark", "light", "contrast"),
}
_RANGES = {
    "min_uptime": (0.0, 600.0),
    "action_timeout": (1.0, 3600.0),
    "snapshot_timeout": (1.0, 600.0),
    "connect_timeout": (1.0, 120.0),
    "connect_limit": (1, 500),
    "deadman_seconds": (10, 3600),
    "session_hours": (1, 24 * 30),
    "password_days": (0, 3650),
    "mail_port": (1, 65535),
    "mail_timeout": (1.0, 120.0),
    "task_above": (1, 100_000),
    "tasks_at_once": (1, 500),
    "tasks_per_host": (1, 100),
    "worker_idle": (0.1, 86_400.0),
    "output_days": (1, 3650),
    "budget_prod": (1, 100_000),
    "budget_stage": (1, 100_000),
    "budget_dev": (1, 100_000),
    "approval_hours": (0.05, 720.0),
}


def load(path: Path) -> Settings:
    """Read the file; a missing one is all defaults, a broken one is all defaults and a note."""
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return Settings()
    except (OSError, UnicodeDecodeError) as error:
        return Settings(notes=(f"{path}: cannot be read ({error}); the defaults are used",))
    import tomllib

    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return Settings(notes=(f"{path}: {error}; the defaults are used",))
    values: dict[str, Any] = {}
    notes: list[str] = []
    for name, value in raw.items():
        problem = _problem(name, value)
        if problem is None:
            values[name] = tuple(value) if isinstance(value, list) else value
        else:
            notes.append(f"{path} line {_line_of(text, name)}: {name}: {problem}; the default is used")
    if values.get("mode") == "team":
        values.setdefault("captive", True)
    return Settings(**values, notes=tuple(notes))


def _problem(name: str, value: Any) -> str | None:
    defaults = {f.name: getattr(Settings(), f.name) for f in fields(Settings) if f.name != "notes"}
    if name not in defaults:
        return f"no such setting; there are {', '.join(defaults)}"
    default = defaults[name]
    if isinstance(default, tuple):
        good = isinstance(value, list) and all(isinstance(item, str) for item in value)
        return None if good else "must be a list of strings"
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not type(default):
        return f"must be a {type(default).__name__}, not {value!r}"
    if name == "webhook" and value and not value.startswith(("https://", "http://localhost", "http://127.0.0.1")):
        return "must be https://HOST/PATH; http is taken only for this machine"
    if name in _CHOICES and value not in _CHOICES[name]:
        return f"must be one of {', '.join(_CHOICES[name])}, not {value!r}"
    if name in _RANGES and not _RANGES[name][0] <= value <= _RANGES[name][1]:
        return f"must be from {_RANGES[name][0]} to {_RANGES[name][1]}"
    return None


def _line_of(text: str, name: str) -> int:
    for number, line in enumerate(text.splitlines(), start=1):
        if re.match(rf"\s*\[?{re.escape(name)}\b", line):
            return number
    return 1
