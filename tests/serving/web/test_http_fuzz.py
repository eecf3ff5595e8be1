"""Requests that nobody would make: each has an answer, and none is a fault."""

from __future__ import annotations

import base64
import json
import random
from typing import Any
from urllib.parse import quote

import pytest
from web_door import Answer, Door

from clipsearch.serving.web.operations import OPERATIONS, Operation
from clipsearch.serving.web.parameters import SEARCH

_NAMES = [
    *(one.name for one in SEARCH),
    *("terms", "queries", "vectors", "shape", "ids", "texts", "pictures", "format", "detailed"),
]
_INSIDE = [
    *("text", "photo", "picture", "embedding", "url", "weight", "content-hash"),
    *("and", "not", "compare", "one_of", "below", "within", "missing", "a"),
]
_PLAIN = [None, True, False, 0, -1, 1, 2**70, 1.5, 1e308, float("nan"), "", "a", "\ud800", "2021"]


def anything(chance: random.Random, depth: int = 0) -> Any:
    """Return some value that JSON can write."""
    kind = chance.randrange(len(_PLAIN) + (4 if depth < 3 else 2)) - len(_PLAIN)
    if kind < 0:
        return _PLAIN[kind]
    if kind == 0:
        return base64.b64encode(chance.randbytes(chance.randrange(40))).decode()
    if kind == 1:
        return "x" * chance.randrange(300)
    inside = [anything(chance, depth + 1) for _ in range(chance.randrange(4))]
    return inside if kind == 2 else {chance.choice(_INSIDE): one for one in inside}


def body(chance: random.Random, one: Operation) -> dict[str, Any]:
    """Return a body that was right once, with something else in it."""
    right = json.loads(json.dumps(chance.choice(one.bodies))) if one.bodies else {}
    for _ in range(chance.randrange(3)):
        right[chance.choice(_NAMES)] = anything(chance)
    terms = right.get("terms")
    if isinstance(terms, list) and terms and isinstance(terms[0], dict):
        terms[0][chance.choice(_INSIDE[:7])] = anything(chance)
    return right


def asked(door: Door, chance: random.Random, one: Operation) -> Answer:
    path = one.path.replace("{photo_id}", chance.choice(["1", "5", "99999"]))
    if one.method == "GET":
        given = (
            f"{chance.choice(_NAMES)}={quote(str(anything(chance)).encode('utf-8', 'replace'))}"
            for _ in range(chance.randrange(4))
        )
        return door.get(f"{path}?{'&'.join(given)}")
    if chance.random() < 0.15:
        kind = chance.choice(["image/png", "application/json", "text/plain"])
        return door.post(path, chance.randbytes(chance.randrange(60)), kind)
    return door.post(path, body(chance, one))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_no_request_is_a_fault(door: Door, seed: int, caplog: pytest.LogCaptureFixture) -> None:
    chance = random.Random(seed)
    statuses = set()
    for _ in range(1000):
        answer = asked(door, chance, chance.choice(OPERATIONS))
        statuses.add(answer.status)
        if answer.status != 200:
            assert answer.error
    assert statuses <= {200, 400, 403, 404, 413, 422}
    assert {200, 400, 404} <= statuses
    assert not [message for message in caplog.messages if "fault" in message]
