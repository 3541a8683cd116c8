"""Where the program keeps its things: one directory, OPSCONSOLE_HOME, and nothing outside it."""

from __future__ import annotations

import os
from pathlib import Path

_KEPT = frozenset(
    {
        "TERM", "COLORTERM", "NO_COLOR", "LANG", "LANGUAGE", "TZ", "COLUMNS", "LINES", "TMUX", "STY", "LOGNAME", "USER",
        "SHELL", "MAIL", "SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY", "SSH_ORIGINAL_COMMAND",
    }
)  # fmt: skip
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def serving() -> bool:
    """Whether somebody came through sudo into a service account. sudo itself says so, and he cannot unsay it."""
    return "SUDO_UID" in os.environ and os.geteuid() != 0


def tidy() -> None:
    """Forget the environment of whoever came into a service account, but for his language, zone and terminal.

    sudo resets it as well; this holds when a sudoers line keeps too much. What could lead out of the console or to
    other records (OPSCONSOLE_HOME, HOME, PATH, TEXTUAL_DRIVER, PGHOST, EDITOR …) is the service account's own, or gone.
    """
    if not serving():
        return
    for name in list(os.environ):
        if name not in _KEPT and not name.startswith(("LC_", "SUDO_")):
            del os.environ[name]
    os.environ["PATH"] = _PATH
    os.environ["HOME"] = str(_account_home())


def home() -> Path:
    """OPSCONSOLE_HOME, else the platform's user data directory; for a service account always the one under its own
    home directory. Not created here."""
    if serving():
        return _account_home() / ".local/share/opsconsole"
    given = os.environ.get("OPSCONSOLE_HOME")
    if given:
        return Path(given).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_data_dir("opsconsole"))


def database_url(configured: str) -> str | None:
    """The database to use when it is not the embedded one: OPSCONSOLE_DATABASE_URL, else what the settings say; for a
    service account only the settings."""
    given = None if serving() else os.environ.get("OPSCONSOLE_DATABASE_URL")
    return given or configured or None


def _account_home() -> Path:
    import pwd

    return Path(pwd.getpwuid(os.geteuid()).pw_dir)


def make_private(directory: Path) -> Path:
    """Create a directory only its owner may enter; an existing one keeps its mode."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory
