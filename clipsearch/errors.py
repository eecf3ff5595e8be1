"""Every error that clipsearch raises on purpose.

ClipsearchError
├── InvalidInput            a query, path or option that can't be used
│   └── UnreadableImage     a picture that can't be opened, with the true reason
├── ModelError              a model that can't be used
│   ├── UnknownModel        no such name, tag or folder
│   └── WeightsUnavailable  the weights are not on this machine and can't be fetched
├── MissingPackages         a light install has not what this needs
├── UnfitMachine            torch or ONNX Runtime can't work here, whatever the model
└── LibraryError            a library that can't be used
    ├── LibraryNotFound     nothing there yet, or nothing in it
    ├── LibraryIncompatible made by a newer clipsearch, or no library at all
    ├── LibraryDamaged      the catalog can't be read
    ├── LibraryLocked       another process or thread is writing
    ├── LibraryClosed       it was closed, or opened by the process that this one was forked from
    ├── LibraryReadOnly     writing was asked for where it is not possible
    └── ServerBusy          too many questions wait at its server

`exit_code` is what the command line ends with.
"""


class ClipsearchError(Exception):
    """Base of all errors raised by clipsearch; the message is one line for the user."""

    exit_code = 2


class InvalidInput(ClipsearchError):
    """A query, path or option can't be used."""


class UnreadableImage(InvalidInput):
    """A picture can't be opened upright and whole; the message says why."""


class ModelError(ClipsearchError):
    """A model can't be used."""


class UnknownModel(ModelError):
    """No model has this name."""


class WeightsUnavailable(ModelError):
    """The weights are not on this machine and can't be fetched."""


class MissingPackages(ClipsearchError):
    """What was asked for needs packages that a light install leaves out; the message names them."""


class UnfitMachine(ClipsearchError):
    """This machine (or the sandbox) keeps torch or ONNX Runtime from working at all."""

    exit_code = 70


class LibraryError(ClipsearchError):
    """A library can't be used."""

    exit_code = 3


class LibraryNotFound(LibraryError):
    """There is no library there, or it holds no photos yet."""


class LibraryIncompatible(LibraryError):
    """The library was made by a newer clipsearch, or the file is no library."""


class LibraryDamaged(LibraryError):
    """The catalog can't be read."""


class LibraryLocked(LibraryError):
    """Another process or thread is writing to the library."""


class LibraryClosed(LibraryError):
    """The library was closed, or opened by the process that this one was forked from."""


class LibraryReadOnly(LibraryError):
    """The library can't be written to."""


class ServerBusy(LibraryError):
    """Too many questions wait at a library's server; after a while there is room again."""


def one_line(error: BaseException) -> str:
    """Return the first line of an error of other code, shortened, to be quoted in one of ours."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return shortened(lines[0] if lines else type(error).__name__, 200)


def shortened(text: str, most: int) -> str:
    """Return a text of at most so many characters; dots stand for the rest."""
    return text if len(text) <= most else f"{text[: most - 3]}..."
