"""The program `clipsearch`: parse, make one call of the Python API, show the answer."""

from __future__ import annotations

import os
import re
import sys
import warnings

_ASKING = {"query", "similar", "list", "info", "serve"}  # commands


def main() -> None:
    """Run the program and end the process with its exit code."""
    from clipsearch.cli.ending import end_with_error, end_with_fault, open_closed_streams
    from clipsearch.errors import ClipsearchError
    from clipsearch.settings import leave_a_deleted_folder

    _spare_threads(sys.argv[1:])
    # Libraries warn of what they mend themselves (odd EXIF data, say): nothing a user can act on.
    warnings.simplefilter("ignore")
    open_closed_streams()
    leave_a_deleted_folder()
    try:
        _run(sys.argv[1:])
    except ClipsearchError as error:
        end_with_error(error)
    except KeyboardInterrupt:  # before the app could see it
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 - 1 would mean "nothing found"
        end_with_fault(error)


def _spare_threads(arguments: list[str]) -> None:
    """Have threads of numpy and FAISS not cost more than they save; said before these are loaded.

    What a question multiplies is small, though not what a batch of them does; and threads would
    keep a processor busy for a while after each product (30 ms) and each search, in case that
    another comes.
    """
    if set(arguments) & _ASKING and not any(one.startswith("--batch") for one in arguments):
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")


def _ask(what: str, size: int) -> bool:
    from clipsearch.cli.fetching import ask_a_person

    return ask_a_person(what, size)


def _run(arguments: list[str]) -> None:
    from clipsearch import consent
    from clipsearch.cli.filter_flags import refuse_twice
    from clipsearch.cli.quick import quick_index, quick_info, quick_search

    consent.ask = _ask
    if (search := quick_search(arguments)) is not None:
        from clipsearch.cli.searching import run

        run(search)
    elif (asked := quick_info(arguments)) is not None:
        from clipsearch.cli.library_info import show_info

        show_info(**asked)
    elif (asked := quick_index(arguments)) is not None:
        from clipsearch.cli.index_command import index

        index(**asked)
    else:
        _refuse_empty(arguments)
        refuse_twice(arguments)
        from clipsearch.cli.app import run as run_app

        run_app()


def _refuse_empty(arguments: list[str]) -> None:
    """Refuse what is empty, as `remove "$UNSET"` is: as a path it would be the current folder."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    cut_off = [word for word in options if re.fullmatch("--[a-z-]+=", word)]
    empty = [before for before, word in zip(["", *arguments], arguments, strict=False) if not word]
    for before in (*cut_off, *empty):
        if before.rstrip("=") != "--label":  # "" is the label of photos that have none
            from clipsearch.errors import InvalidInput

            after = f" (after {before})" if before else ""
            raise InvalidInput(f"an argument is empty{after}: is a variable not set?")
