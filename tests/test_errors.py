"""What others' errors say is quoted in one line, never empty and never long."""

import pytest

from clipsearch.errors import one_line, shortened


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("no such layer"), "no such layer"),
        (RuntimeError("\n\n  the first line  \nand a trace\n"), "the first line"),
        (MemoryError(), "MemoryError"),
        (KeyError(" \n "), "' \\n '"),
        (OSError("x" * 201), "x" * 197 + "..."),
        (OSError("x" * 200), "x" * 200),
    ],
)
def test_an_error_is_quoted_in_one_line(error: Exception, expected: str) -> None:
    assert one_line(error) == expected


def test_a_text_is_cut_where_it_is_longer_than_wanted() -> None:
    assert [shortened("abcdef", most) for most in (7, 6, 5)] == ["abcdef", "abcdef", "ab..."]
