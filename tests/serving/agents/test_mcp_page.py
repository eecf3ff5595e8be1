"""The page on agents: its settings can be read, and its warning stands where it must."""

import json
import re

import pytest
from places import ROOT
from typer.main import get_command

from clipsearch.cli.app import app

PAGE = (ROOT / "docs" / "mcp.md").read_text()
BLOCKS = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
WARNING = "An agent may live elsewhere: what it is shown leaves this machine"


def test_the_warning_comes_first_and_is_among_what_leaves_the_machine() -> None:
    assert PAGE.splitlines()[2].startswith(f"**{WARNING}.**")
    assert WARNING in (ROOT / "docs" / "privacy.md").read_text()
    context = get_command(app).make_context("clipsearch", [], resilient_parsing=True)
    assert WARNING in " ".join((get_command(app).get_command(context, "mcp").help or "").split())


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: next(iter(block)))
def test_settings_name_a_command_that_there_is(block: dict) -> None:
    ((servers, named),) = block.items()
    assert servers in ("mcpServers", "servers", "context_servers")
    for server in named.values():
        if "url" in server:
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/mcp", server["url"])
            continue
        assert server["command"] == "clipsearch"
        with pytest.raises(SystemExit) as ended:
            app([*server["args"], "--help"], prog_name="clipsearch")
        assert ended.value.code == 0


def test_the_page_has_all_tools_and_settings() -> None:
    assert len(BLOCKS) >= 3
    for tool in ("search", "similar", "photo", "library", "contact_sheet"):
        assert f"| `{tool}` |" in PAGE
