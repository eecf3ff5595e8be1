"""The parameters of the HTTP API: one list, which requests are read by and which is described.

They are named as on the command line (`min-score`), and `_` is taken for `-`, as Python has it. A
query string gives them as text, a JSON body as values of their own kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from clipsearch.arguments import shown
from clipsearch.asking.keywords import MISSING, ORIENTATIONS
from clipsearch.errors import InvalidInput
from clipsearch.near_names import did_you_mean, near_name
from clipsearch.options import ONLY, SORTS

Kind = Literal["text", "texts", "whole", "number", "boolean", "choice", "choices", "filters"]
LONGEST_TEXT = 10_000  # characters of a value
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


class Parameter(NamedTuple):
    """What may be said of a request, by name."""

    name: str  # in addresses and in JSON
    kind: Kind
    help: str
    example: Any
    field: str  # of SearchOptions, a keyword of filters, or a name of the handlers' own
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    usual: Any = None  # what counts where it is not given
    only_json: bool = False
    required: bool = False

    @property
    def repeated(self) -> bool:
        """Whether it may be given several times; in JSON as a list."""
        return self.kind in ("texts", "choices")


FILTERS = (
    Parameter(
        "in",
        "text",
        "Only photos in any folder of this name; or in the folder of this whole path, or below it.",
        "holidays",
        "in_",
    ),
    Parameter(
        "after",
        "text",
        "Only those taken from then on: 2023, 2023-07-14, last summer; or in a time: 2021..2022.",
        "2021..2022",
        "after",
    ),
    Parameter("before", "text", "Only those taken before.", "2024", "before"),
    Parameter("camera", "text", "Only those of a camera with this in its name.", "Pixel", "camera"),
    Parameter("lens", "text", "The same of the lens.", "50mm", "lens"),
    Parameter(
        "near",
        "text",
        "Only those taken near a place: LAT,LON or LAT,LON,KM (10 km if not said); or its name, "
        "where the server has the extra `places`.",
        "48.85,2.35,5",
        "near",
    ),
    Parameter("type", "texts", "Only those of a type, or of several.", ["jpeg"], "type"),
    Parameter(
        "min-width",
        "whole",
        "Only those at least so many pixels wide.",
        640,
        "min_width",
        least=1,
    ),
    Parameter(
        "orientation", "choice", "Only those of a shape.", "landscape", "orientation", ORIENTATIONS
    ),
    Parameter("tag", "texts", "Only those with this tag; several times: with all.", ["dog"], "tag"),
    Parameter(
        "missing",
        "choices",
        "Only those that don't say something.",
        ["position"],
        "missing",
        MISSING,
    ),
    Parameter(
        "filters",
        "filters",
        "The same and more as a tree: `SearchOptions(filters=…).to_json()` in Python writes one.",
        {"compare": ["width", ">=", 640]},
        "filters",
        only_json=True,
    ),
)
INCLUDE_AWAY = Parameter(
    "include-away",
    "boolean",
    "Find photos too whose folder is not there now (disk not mounted).",
    True,
    "include_away",
    usual=False,
)
RELEVANT = Parameter(
    "relevant",
    "boolean",
    "Leave out what matches too little to be an answer.",
    False,
    "relevant",
    usual=True,
)
FOLD = Parameter(
    "fold", "boolean", "Show one photo of several copies, or of a burst.", False, "fold", usual=True
)
OPTIONS = (
    Parameter("k", "whole", "How many photos at most.", 5, "k", least=1, most=10_000, usual=50),
    Parameter(
        "offset", "whole", "Pass over so many: the next page.", 5, "offset", least=0, usual=0
    ),
    Parameter(
        "sort",
        "choice",
        "The order: relevance, or of the relevant ones date (newest first) or path; without a "
        "question date, if nothing is said.",
        "date",
        "sort",
        SORTS,
        usual="relevance",
    ),
    RELEVANT,
    FOLD,
    Parameter(
        "only",
        "choice",
        "Find by what is seen (visual), or by names, captions and people (words), alone.",
        "visual",
        "only",
        ONLY,
    ),
    Parameter(
        "min-score",
        "number",
        "Leave out photos that score less: a cosine.",
        0.1,
        "min_score",
        least=-1,
        most=1,
    ),
    INCLUDE_AWAY,
    Parameter(
        "exact",
        "boolean",
        "Look at every photo, where a large library's index is approximate.",
        True,
        "exact",
        usual=False,
    ),
    *FILTERS,
)
QUESTION = Parameter(
    "q",
    "text",
    "What the photo shows, in words; it may hold filters, and less of something after a dash: "
    "`dog in:holidays -people`. Without words: the photos that pass the filters.",
    "a dog",
    "q",
    usual="",
)
AS_TEXT = Parameter(
    "text", "boolean", "`q` is words, whatever it looks like.", True, "text", usual=False
)
FACETS = Parameter(
    "facets",
    "boolean",
    "Count the photos that pass the filters, by date, camera, folder and more, too.",
    True,
    "facets",
    usual=False,
)
SEARCH = (QUESTION, AS_TEXT, *OPTIONS, FACETS)
SIMILAR = (QUESTION, *OPTIONS, FACETS)
COUNTED = (QUESTION, *FILTERS, INCLUDE_AWAY)
VECTORS = (
    tuple(one for one in OPTIONS if one.field in ("k", "min_score", "include_away", "exact"))
    + FILTERS
)
FORMAT = Parameter(
    "format",
    "choice",
    "How embeddings are written: numbers, or float32 (little endian) in base64.",
    "base64",
    "format",
    ("numbers", "base64"),
    usual="numbers",
)
IDS = Parameter(
    "ids", "text", "The ids of photos, with commas between them.", "1,2", "ids", required=True
)
DETAILED = Parameter(
    "detailed",
    "boolean",
    "Name the files that could not be indexed, and what runs leave out in its order.",
    True,
    "detailed",
    usual=False,
)
SIZE = Parameter(
    "size",
    "choice",
    "The longer side: 480 pixels or 1,600; never more than the photo has.",
    "small",
    "size",
    ("small", "large"),
    usual="small",
)
VERSION = Parameter(
    "v",
    "text",
    "The first 12 digits of the content's hash: with them the answer may be kept for ever.",
    "0fff4e3867dd",
    "v",
)
DOWNLOAD = Parameter(
    "download", "boolean", "The file as it is, with its name.", True, "download", usual=False
)
# Those of `query_batch`, which programs ask: all there is, in order of rank.
BATCH = tuple(
    one._replace(usual=10 if one is OPTIONS[0] else False)
    if one in (OPTIONS[0], RELEVANT, FOLD)
    else one
    for one in OPTIONS
)


def from_query(given: Iterable[tuple[str, str]], parameters: Sequence[Parameter]) -> dict[str, Any]:
    """Return the values of a query string by their fields, the usual ones for what is not said.

    Raises InvalidInput for a name there is not, and for one given twice that can be given once.
    """
    known = _by_name(one for one in parameters if not one.only_json)
    values: dict[str, Any] = {}
    for name, text in given:
        one = _known(name, known)
        if one.repeated:
            values.setdefault(one.field, []).append(text)
        elif one.field in values:
            raise InvalidInput(f"{one.name} can be given once")
        else:
            read = _FROM_TEXT.get(one.kind)
            values[one.field] = read(text, one) if read else text
    return _checked(values, parameters)


def from_json(
    given: Mapping[str, Any], parameters: Sequence[Parameter], *, beside: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the same of a JSON object, without what stands `beside` the parameters in it."""
    known = _by_name(parameters)
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name in beside:
            continue
        one = _known(name, known, beside)
        if one.field in values:
            raise InvalidInput(f"{one.name} can be given once")
        if one.repeated:
            value = [value] if isinstance(value, str) else value
        if value is not None:
            values[one.field] = value
    return _checked(values, parameters)


def _by_name(parameters: Iterable[Parameter]) -> dict[str, Parameter]:
    return {one.name: one for one in parameters}


def _known(name: str, known: Mapping[str, Parameter], beside: Sequence[str] = ()) -> Parameter:
    usual = name.replace("_", "-")
    if usual in known:
        return known[usual]
    if name in ("where", "model"):
        raise InvalidInput(f"{name} is for who has the library on the same machine")
    near = did_you_mean(near_name(name, [*known, *beside]))
    raise InvalidInput(f"there is no parameter {shown(name)}{near}")


def _checked(values: dict[str, Any], parameters: Sequence[Parameter]) -> dict[str, Any]:
    usual = {one.field: one.usual for one in parameters if one.usual is not None}
    by_field = {one.field: one for one in parameters}
    missing = next((one for one in parameters if one.required and one.field not in values), None)
    if missing:
        raise InvalidInput(f"{missing.name} is missing: {missing.help}")
    return usual | {
        field: _CHECKS[by_field[field].kind](value, by_field[field])
        for field, value in values.items()
    }


def _whole_of(text: str, one: Parameter) -> int:
    if not text.isascii() or not text.removeprefix("-").isdigit() or len(text) > 20:
        raise InvalidInput(f"{one.name} must be a whole number, not {shown(text)}")
    return int(text)


def _number_of(text: str, one: Parameter) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidInput(f"{one.name} must be a number, not {shown(text)}") from None


def _boolean_of(text: str, one: Parameter) -> bool:
    if text.lower() not in _BOOLEANS:
        raise InvalidInput(f"{one.name} must be true or false, not {shown(text)}")
    return _BOOLEANS[text.lower()]


_FROM_TEXT: dict[Kind, Callable[[str, Parameter], Any]] = {
    "whole": _whole_of,
    "number": _number_of,
    "boolean": _boolean_of,
}


def _text(value: Any, one: Parameter) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        raise InvalidInput(
            f"{one.name} must be a text of at most {LONGEST_TEXT} characters, not {shown(value)}"
        )
    return whole_characters(value)


def whole_characters(text: str) -> str:
    """Return a text; raises InvalidInput where it holds half a character, as JSON can write it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInput(f"{shown(text)} is no text: it holds what is no character") from None
    return text


def _texts(value: Any, one: Parameter) -> list[str]:
    if not isinstance(value, list) or not value or len(value) > 100:
        raise InvalidInput(f"{one.name} must be 1 to 100 texts, not {shown(value)}")
    return [_text(text, one) for text in value]


def _number(value: Any, one: Parameter) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        raise InvalidInput(f"{one.name} must be a number, not {shown(value)}")
    if (one.least is not None and value < one.least) or (one.most is not None and value > one.most):
        most = "" if one.most is None else f" and at most {one.most:g}"
        raise InvalidInput(f"{one.name} must be at least {one.least:g}{most}, not {shown(value)}")
    return value


def _whole(value: Any, one: Parameter) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInput(f"{one.name} must be a whole number, not {shown(value)}")
    return int(_number(value, one))


def _boolean(value: Any, one: Parameter) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput(f"{one.name} must be true or false, not {shown(value)}")
    return value


def _choice(value: Any, one: Parameter) -> str:
    text = _text(value, one)
    if text not in one.choices:
        near = did_you_mean(near_name(text, one.choices))
        raise InvalidInput(
            f"{one.name} must be one of {', '.join(one.choices)}, not {shown(text)}{near}"
        )
    return text


def _choices(value: Any, one: Parameter) -> list[str]:
    return [_choice(text, one) for text in _texts(value, one)]


def _tree(value: Any, _: Parameter) -> Any:
    from clipsearch.index.filters import from_json as tree

    return tree(value)


_CHECKS: dict[Kind, Callable[[Any, Parameter], Any]] = {
    "text": _text,
    "texts": _texts,
    "whole": _whole,
    "number": _number,
    "boolean": _boolean,
    "choice": _choice,
    "choices": _choices,
    "filters": _tree,
}
