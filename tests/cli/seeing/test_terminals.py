"""Which pictures a terminal is sent, by what its environment says; it is never asked."""

import pytest

from clipsearch.cli.seeing.terminals import Way, way_of

TRUE = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}


@pytest.mark.parametrize(
    ("environment", "way"),
    [
        ({"TERM": "xterm-kitty"}, Way.KITTY),
        ({"TERM": "xterm-ghostty"}, Way.KITTY),
        ({**TRUE, "KITTY_WINDOW_ID": "1"}, Way.KITTY),
        ({**TRUE, "TERM_PROGRAM": "iTerm.app"}, Way.ITERM2),
        ({**TRUE, "TERM_PROGRAM": "WezTerm"}, Way.ITERM2),
        ({**TRUE, "LC_TERMINAL": "iTerm2"}, Way.ITERM2),  # over ssh
        ({"TERM": "foot"}, Way.SIXEL),
        ({**TRUE, "KONSOLE_VERSION": "240800"}, Way.SIXEL),
        (TRUE, Way.BLOCKS),
        ({"TERM": "xterm-256color"}, Way.BLOCKS),
        ({"TERM": "xterm", "WT_SESSION": "1"}, Way.BLOCKS),
        ({"TERM": "xterm"}, None),  # of eight colours no picture is made
        ({"TERM": "linux"}, None),
        ({"TERM": "dumb", "COLORTERM": "truecolor", "KITTY_WINDOW_ID": "1"}, None),
        ({"TERM": "dumb", "CLIPSEARCH_THUMBNAILS": "kitty"}, None),
        ({"TERM": "xterm", "CLIPSEARCH_THUMBNAILS": "sixel"}, Way.SIXEL),
        ({**TRUE, "CLIPSEARCH_THUMBNAILS": "nonsense"}, Way.BLOCKS),
        # between this program and the terminal
        ({**TRUE, "KITTY_WINDOW_ID": "1", "TMUX": "/tmp/x"}, Way.BLOCKS),
        ({"TERM": "tmux-256color", "TERM_PROGRAM": "WezTerm"}, Way.BLOCKS),
        ({"TERM": "screen", "KONSOLE_VERSION": "1"}, None),
        ({}, None),
    ],
)
def test_a_terminal_is_known_by_its_environment(environment: dict[str, str], way: Way) -> None:
    assert way_of(environment, "utf-8") is way


def test_characters_that_can_not_be_written_are_no_pictures() -> None:
    assert way_of(TRUE, "ascii") is None
    assert way_of({"TERM": "xterm-kitty"}, "ascii") is Way.KITTY
