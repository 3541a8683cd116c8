"""Where the program keeps its things: one directory, OPSCONSOLE_HOME, and nothing outside it."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """OPSCONSOLE_HOME, else the platform's user data directory. Not created here."""
    given = os.environ.get("OPSCONSOLE_HOME")
    if given:
        return Path(given).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_data_dir("opsconsole"))


def make_private(directory: Path) -> Path:
    """Create a directory only its owner may enter; an existing one keeps its mode."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory
