"""The real program with the sample operations: `python -m tests.cli.sample_main ARGUMENTS`."""

from __future__ import annotations

from opsconsole.__main__ import main
from tests.cli import sample

if __name__ == "__main__":
    sample.install()
    raise SystemExit(main())
