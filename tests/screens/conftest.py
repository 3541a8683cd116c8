"""Every test of the screens sees the same clock and may press Enter on a plan at once."""

from __future__ import annotations

import pytest

from tests.screens.support import FixedClock


@pytest.fixture(autouse=True)
def still_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (
        "screens.services",
        "screens.services_detail",
        "screens.hosts",
        "screens.widgets.log",
        "screens.frame",
    ):
        monkeypatch.setattr(f"{module}.time", FixedClock)
    monkeypatch.setattr("screens.frame.ARM_AFTER", 0.0)
    monkeypatch.setattr("screens.widgets.plan.ARM_AFTER", 0.0)
    monkeypatch.setattr("screens.widgets.question.ARM_AFTER", 0.0)
    monkeypatch.delenv("NO_COLOR", raising=False)
