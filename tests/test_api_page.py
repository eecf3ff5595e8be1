"""The page of the API is what the docstrings say, and the description of what is served."""

import pytest
from places import ROOT


def test_the_page_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import make_api

    assert make_api.PAGE.read_text(encoding="utf-8") == make_api.page(), "make api"
