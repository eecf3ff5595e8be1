"""The page of the commands is what their help says."""

import pytest
from places import ROOT


def test_the_page_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    monkeypatch.setenv("NO_COLOR", "1")
    import make_commands

    assert make_commands.PAGE.read_text(encoding="utf-8") == make_commands.page(), "make api"
