"""Whether much may be fetched from the network: the program asks the person at its terminal.

From Python nobody is asked: who names a model has said so.
"""

from __future__ import annotations

from collections.abc import Callable

MUCH = 50_000_000  # bytes; less is fetched unasked

# Called with what is to be fetched and its size in bytes; None: nobody is asked.
ask: Callable[[str, int], bool] | None = None
