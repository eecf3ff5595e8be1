"""Pictures, terms, embeddings, counts and vectors over HTTP; and its description, held to it."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator
from fnmatch import fnmatch
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from test_http_search import found, ids
from web_door import Answer, Door

from clipsearch import Library, ServerBusy, term
from clipsearch.cli.filter_flags import FILTER_FLAGS
from clipsearch.cli.search_flags import SEARCH_FLAGS
from clipsearch.serving.web.openapi import description
from clipsearch.serving.web.operations import FILES, OPERATIONS
from clipsearch.serving.web.parameters import FILTERS, OPTIONS

ALL = {"relevant": False, "fold": False}


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def array(answer: Answer, name: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(answer.json[name]), kind).reshape(answer.json["shape"])


@pytest.fixture(scope="module")
def picture(own: Library) -> bytes:
    """Return the file of a photo of the library, changed so that nobody knows it."""
    data = own.list(k=1, in_="animals", sort="path")[0].path.read_bytes()
    return data + b"\0"


def test_a_picture_is_the_body(door: Door, own: Library, picture: bytes) -> None:
    for kind in ("image/jpeg", "application/octet-stream"):
        answer = door.post("/api/search?k=5&relevant=false&fold=false", picture, kind)
        assert ids(answer) == found(own.query(picture, k=5))


def test_terms_are_added_and_taken_away(door: Door, own: Library, picture: bytes) -> None:
    photo = own.list(k=1, in_="city")[0]
    embedding = own.encode_text("a street at night")[0]
    terms = [
        {"text": "a beach"},
        {"picture": b64(picture), "weight": 0.5},
        {"photo": photo.id, "weight": -0.3},
        {"embedding": b64(embedding.astype("<f4").tobytes()), "weight": 0.7},
    ]
    answer = door.post("/api/search", {"terms": terms, "k": 12, **ALL})
    meant = term("a beach") + 0.5 * term(picture) - 0.3 * term(photo) + 0.7 * term(embedding)
    expected = own.query(meant, k=12)
    assert answer.status == 200, answer.body
    assert [hit["score"] for hit in answer.json["hits"]] == [hit.score for hit in expected]
    as_numbers = {"embedding": embedding.tolist(), "weight": 0.7}
    same = door.post("/api/search", {"terms": [*terms[:3], as_numbers], "k": 12, **ALL})
    assert same.json == answer.json


def test_words_typed_beside_terms_filter_and_add(door: Door, own: Library) -> None:
    photo = own.list(k=1, in_="city")[0]
    body = {"terms": [{"photo": photo.id}], "q": "night -people in:city", "k": 9, **ALL}
    answer = door.post("/api/search", body)
    expected = own.query(term(photo) + "night" - "people", k=9, in_="city")
    assert ids(answer) == found(expected)
    assert answer.json["query"]["understood"] == ["minus people", "in any folder city"]


def test_similar_to_several_leaves_them_all_out(door: Door, own: Library) -> None:
    photos = own.list(k=3)
    terms = [{"photo": hit.id} for hit in photos]
    answer = door.post("/api/similar", {"terms": terms, "k": 60, **ALL})
    assert not {hit.id for hit in photos} & set(ids(answer))
    assert ids(answer) == found(own.similar(list(photos), k=60))
    words = door.post("/api/similar", {"terms": [{"text": "a dog"}]})
    assert (words.status, words.error) == (400, "there is no picture among the terms")


def test_a_clients_text_is_never_the_name_of_a_file(door: Door, own: Library) -> None:
    """A file that the server could read, and an address, are words; nothing is looked at."""
    path = str(own.list(k=1)[0].path)
    for text in (path, "file:///etc/passwd"):
        expected = found(own.query(text, text=True, k=5))
        assert (
            ids(door.get("/api/search", q=text, text="true", k=5, relevant=0, fold=0)) == expected
        )
        answer = door.post("/api/search", {"terms": [{"text": text}], "k": 5, **ALL})
        assert ids(answer) == expected
        photo = own.list(k=1, in_="food")[0]
        both = {"terms": [{"photo": photo.id}, {"text": text}], "k": 5, **ALL}
        assert ids(door.post("/api/similar", both)) == found(
            own.similar(term(photo) + text, text=True, k=5)
        )


def test_facets_count_what_passes(door: Door, own: Library) -> None:
    assert door.get("/api/facets").json == own.facets().to_dict()
    some = door.get("/api/facets", q="in:animals a dog -cat", camera="pixel")
    assert some.json == own.facets(in_="animals", camera="pixel").to_dict()
    assert 0 < some.json["total"] < own.count()
    answer = door.get("/api/search", q="a dog camera:pixel", facets="true")
    assert answer.json["facets"] == own.facets(camera="pixel").to_dict()
    assert "facets" not in door.get("/api/search", q="a dog").json


def test_embeddings_of_texts_and_pictures(door: Door, own: Library, picture: bytes) -> None:
    texts = ["a dog", "ein Hund"]
    expected = own.encode_text(texts)
    answer = door.post("/api/embed?format=base64", {"texts": texts})
    assert np.array_equal(array(answer, "embeddings", "<f4"), expected)
    plain = door.post("/api/embed", {"texts": texts}).json
    assert plain["width"] == expected.shape[1]
    assert np.array_equal(np.array(plain["embeddings"], np.float32), expected)
    of_picture = own.encode_images([picture])
    for answer in (
        door.post("/api/embed?format=base64", {"pictures": [b64(picture)]}),
        door.post("/api/embed?format=base64", picture, "image/jpeg"),
    ):
        assert np.array_equal(array(answer, "embeddings", "<f4"), of_picture)


def test_many_questions_at_once(door: Door, own: Library, picture: bytes) -> None:
    photo = own.list(k=1)[0]
    queries = [[{"text": "a dog"}], [{"picture": b64(picture)}, {"text": "night", "weight": -1}]]
    queries.append([{"photo": photo.id}])
    answer = door.post("/api/batch", {"queries": queries, "k": 4, "in": "animals"})
    meant = ["a dog", term(picture) - "night", photo]
    expected = own.query_batch(meant, k=4, in_="animals")
    assert [[hit["id"] for hit in one["hits"]] for one in answer.json["answers"]] == [
        found(hits) for hits in expected
    ]


def test_vectors_are_searched_and_given(door: Door, own: Library) -> None:
    vectors = own.encode_text(["a dog", "a house", "food"])
    body = {"vectors": b64(vectors.tobytes()), "shape": list(vectors.shape), "k": 70}
    answer = door.post("/api/vectors/search", {**body, "type": "jpeg", "min-score": 0.1})
    scores, photo_ids = own.search_vectors(vectors, k=70, type="jpeg", min_score=0.1)
    assert np.array_equal(array(answer, "scores", "<f4"), scores)
    assert np.array_equal(array(answer, "ids", "<i8"), photo_ids)
    assert (photo_ids == -1).any()
    given = door.post("/api/vectors", {"ids": [3, 1]})
    assert np.array_equal(array(given, "vectors", "<f4"), own.vectors([3, 1]))


def test_photos_by_their_ids(door: Door, own: Library) -> None:
    answer = door.get("/api/photos", ids="3,1,3")
    assert [one["id"] for one in answer.json["photos"]] == [3, 1, 3]
    assert answer.json == door.post("/api/photos", {"ids": [3, 1, 3]}).json
    assert answer.json["photos"][1]["path"] == str(own.photo(1).file.path)


PNG = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAADElEQVR42mNgoA4AAABIAAEQRe/SAAAAAElFTkSuQmCC"
WRONG: list[tuple[str, Any, str]] = [
    ("/api/search", b"{", "no JSON"),
    ("/api/search", b"\xff\xfe{}", "no JSON"),
    ("/api/search", b"[1]", "must be a JSON object"),
    ("/api/search", b"[" * 100_000, "no JSON"),
    ("/api/search", b'{"k": 1, "k": 2}', "'k' can be given once"),
    ("/api/search", {"k": 5, "top": 5}, "no parameter 'top'"),
    ("/api/search", {"terms": []}, "1 to 100 parts"),
    ("/api/search", {"terms": [{"text": "a"}] * 101}, "1 to 100 parts"),
    ("/api/search", {"terms": {"text": "a"}}, "must be a list"),
    ("/api/search", {"terms": ["a"]}, "a term is an object"),
    ("/api/search", {"terms": [{"txt": "a"}]}, "did you mean text?"),
    ("/api/search", {"terms": [{"text": "a", "photo": 1}]}, "one of text, photo"),
    ("/api/search", {"terms": [{"weight": 1}]}, "one of text, photo"),
    ("/api/search", {"terms": [{"text": ""}]}, "the query is empty"),
    ("/api/search", {"terms": [{"text": 5}]}, "a text is"),
    ("/api/search", {"terms": [{"text": "\ud800"}]}, "no character"),
    ("/api/search", {"q": "\ud800"}, "no character"),
    ("/api/search", {"terms": [{"text": "a", "weight": "much"}]}, "a weight must be"),
    ("/api/search", {"terms": [{"text": "a", "weight": float("inf")}]}, "a weight must be"),
    ("/api/search", {"terms": [{"text": "a"}, {"text": "a", "weight": -1}]}, "cancel each other"),
    ("/api/search", {"terms": [{"photo": "1"}]}, "whole number"),
    ("/api/search", {"terms": [{"photo": True}]}, "whole number"),
    ("/api/search", {"terms": [{"photo": 999999}]}, "no photo 999999"),
    ("/api/search", {"terms": [{"picture": "§"}]}, "no base64"),
    ("/api/search", {"terms": [{"picture": ""}]}, "a file in base64"),
    ("/api/search", {"terms": [{"picture": 5}]}, "a file in base64"),
    ("/api/search", {"terms": [{"embedding": [1, 0]}]}, "256 wide"),
    ("/api/search", {"terms": [{"embedding": [float("nan")] * 256}]}, "finite"),
    ("/api/search", {"terms": [{"embedding": [1e300] * 256}]}, "finite"),
    ("/api/search", {"terms": [{"embedding": [1] * 256}]}, "unit length"),
    ("/api/search", {"terms": [{"embedding": []}]}, "up to"),
    ("/api/search", {"terms": [{"embedding": "AAA="}]}, "no float32"),
    ("/api/search", {"k": True, "q": "a"}, "whole number"),
    ("/api/search", {"k": 1.5, "q": "a"}, "whole number"),
    ("/api/search", {"fold": 1, "q": "a"}, "true or false"),
    ("/api/search", {"min-score": "0", "q": "a"}, "must be a number"),
    ("/api/search", {"tag": [], "q": "a"}, "1 to 100 texts"),
    ("/api/search", {"filters": {"compare": ["width", "~", 1]}}, ""),
    ("/api/search", {"filters": {"where": "1=1"}}, "no filter"),
    ("/api/search?k=5", {"q": "a"}, "stand within it"),
    ("/api/embed", {"texts": "a"}, "must be a list"),
    ("/api/embed", {"texts": ["a"] * 257}, "1 to 256"),
    ("/api/embed", {"text": ["a"]}, "the body must be"),
    ("/api/embed?format=npy", {"texts": ["a"]}, "numbers, base64"),
    ("/api/batch", {"queries": []}, "1 to 256"),
    ("/api/batch", {"queries": [[{"text": "a"}]] * 100, "k": 1000}, "20,000 photos"),
    ("/api/vectors/search", {"vectors": "AAAA", "shape": [1, 256]}, "no float32"),
    ("/api/vectors/search", {"vectors": "AAAAAA==", "shape": [1, 256]}, "not 1 numbers"),
    ("/api/vectors/search", {"vectors": "", "shape": [0.5, 256]}, "shape must be"),
    ("/api/vectors", {"ids": [1, -1]}, "whole number"),
    ("/api/vectors", {"ids": [999999]}, "no photo 999999"),
    ("/api/vectors", {"id": [1]}, "the body must be"),
    ("/api/photos", {"ids": []}, "1 to 10,000"),
]


@pytest.mark.parametrize(("path", "body", "said"), WRONG, ids=lambda one: str(one)[:50])
def test_what_cannot_be_meant_is_refused(door: Door, path: str, body: Any, said: str) -> None:
    answer = door.post(path, body)
    assert (answer.status, answer.json["error"]["kind"]) == (400, "InvalidInput"), answer.body
    assert said in answer.error


def test_a_picture_that_cannot_be_opened_is_told_apart(door: Door) -> None:
    assert door.post("/api/search", b"GIF89a, but no more of it", "image/gif").status == 422
    answer = door.post("/api/embed", {"pictures": [b64(b"\xff\xd8\xff and so on")]})
    assert (answer.status, answer.json["error"]["kind"]) == (422, "UnreadableImage")
    assert door.post("/api/search", b"", "image/jpeg").status == 400


def test_addresses_are_not_fetched_from(door: Door) -> None:
    answer = door.post("/api/search", {"terms": [{"url": "https://example.org/dog.jpg"}]})
    assert (answer.status, answer.json["error"]["kind"]) == (403, "Forbidden")
    assert "fetches nothing" in answer.error


def test_what_is_too_large_is_refused_before_it_has_come(door: Door) -> None:
    words = {"terms": [{"text": "a"}], "tag": ["x" * 9_000] * 40}
    assert door.post("/api/search", words).status == 413
    assert door.post("/api/search", {"terms": [{"embedding": [0.1] * 150_000}]}).status == 413
    host = urlsplit(door.address)
    for length in ("Content-Length: 90000000\r\n", "Transfer-Encoding: chunked\r\n"):
        with socket.create_connection((host.hostname, host.port), timeout=30) as connection:
            head = f"POST /api/search HTTP/1.1\r\nHost: {host.netloc}\r\n{length}"
            connection.sendall(f"{head}Content-Type: image/jpeg\r\n\r\n".encode())
            block = b"100000\r\n" + b"\0" * (1 << 20) + b"\r\n"
            try:
                for _ in range(66 if "chunked" in length else 0):
                    connection.sendall(block)
            except OSError:  # refused while we send
                pass
            assert b" 413 " in connection.recv(4096).split(b"\r\n")[0]


def test_measures_are_told_to_prometheus(door: Door, own: Library) -> None:
    door.get("/api/search", q="a dog")
    door.get("/api/photos/999999")
    answer = door.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.body.decode().splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert int(values["clipsearch_photos"]) == own.count()
    assert int(values['clipsearch_http_requests_total{route="/api/search",status="200"}']) >= 1
    assert int(values['clipsearch_http_requests_total{route="/api/photos",status="404"}']) >= 1
    buckets = [
        int(value)
        for name, value in values.items()
        if name.startswith('clipsearch_http_request_seconds_bucket{route="/api/search"')
    ]
    assert buckets == sorted(buckets)
    assert buckets[-1] == int(values['clipsearch_http_request_seconds_count{route="/api/search"}'])
    assert int(values['clipsearch_requests_total{door="web",command="query"}']) >= 1
    assert 'clipsearch_requests_total{door="web",command="/metrics"}' in values  # by its route
    assert int(values['clipsearch_errors_total{kind="InvalidInput"}']) >= 1
    assert int(values['clipsearch_batch_questions_bucket{le="+Inf"}']) >= 1
    assert int(values["process_resident_memory_bytes"]) > 1 << 20


# the description


@pytest.fixture(scope="module")
def described(door: Door) -> dict:
    answer = door.get("/api/openapi.json")
    assert answer.status == 200
    return answer.json


def strict(schema: Any) -> Any:
    """Return a schema of which no object has other names than it says."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {"additionalProperties": False} if schema.get("type") == "object" else {}
    closed = closed if "properties" in schema else {}
    return {name: strict(one) for name, one in schema.items()} | closed


@pytest.fixture(scope="module")
def closed(described: dict) -> dict:
    return strict(described["components"])


def check(closed: dict, answer: Answer, schema: dict) -> None:
    """Compare an answer with its schema; names that the schema has not are faults, too."""
    whole = {"components": closed, **schema}
    errors = list(Draft202012Validator(whole).iter_errors(answer.json))
    assert not errors, errors[0].message


def test_the_description_is_what_the_server_gives(described: dict) -> None:
    assert described == json.loads(json.dumps(description()))
    for schema in described["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_the_description_is_openapi(described: dict) -> None:
    """By a validator that was made for it: references, parameters and examples, too."""
    OpenAPIV31SpecValidator(described).validate()


def documented(described: dict) -> Iterator[tuple[str, str, Any, Any]]:
    """Yield each example: its method, address, body, and the schema or kind of its answer."""
    for path, operations in described["paths"].items():
        for method, said in operations.items():
            answered = said["responses"]["200"]["content"]
            answer = answered.get("application/json", {}).get("schema") or next(iter(answered))
            parameters = said.get("parameters", [])
            at = path
            for one in parameters:
                if one["in"] == "path":
                    at = at.replace(f"{{{one['name']}}}", str(one["example"]))
            bodies = said.get("requestBody", {}).get("content", {}).get("application/json", {})
            for example in bodies.get("examples", {}).values():
                yield method, at, example["value"], answer
            if not bodies and not any(
                one.get("required") for one in parameters if one["in"] != "path"
            ):
                yield method, at, None, answer
            in_query = [one for one in parameters if one["in"] == "query"]
            if method == "post" and path != "/api/search":  # the same beside a file
                in_query = in_query[:1]
            for one in in_query:
                value = one["example"]
                text = str(value).lower() if isinstance(value, bool) else value
                body = next(iter(bodies.get("examples", {"": {"value": None}}).values()))["value"]
                yield method, f"{at}?{urlencode({one['name']: text}, doseq=True)}", body, answer


def test_every_example_is_answered_as_described(described: dict, closed: dict, door: Door) -> None:
    asked = 0
    for method, path, body, schema in documented(described):
        if method == "post" and "?" in path and "/api/embed" not in path:
            answer = door.post(path, base64.b64decode(PNG), "image/png")
        elif method == "post":
            answer = door.post(path, body)
        else:
            answer = door.get(path)
        assert answer.status == 200, (method, path, body, answer.body[:300])
        if isinstance(schema, str):
            assert fnmatch(answer.headers["content-type"].partition(";")[0], schema)
        else:
            check(closed, answer, schema)
        asked += 1
    assert asked > 80


def test_the_bodies_of_examples_keep_to_their_schemas(described: dict) -> None:
    for operations in described["paths"].values():
        for said in operations.values():
            of_json = said.get("requestBody", {}).get("content", {}).get("application/json", {})
            schema = {"components": described["components"], **of_json.get("schema", {})}
            for example in of_json.get("examples", {}).values():
                Draft202012Validator(schema).validate(example["value"])


def test_an_error_is_as_described(closed: dict, door: Door) -> None:
    schema = {"$ref": "#/components/schemas/Error"}
    check(closed, door.get("/api/search", k=0), schema)
    check(closed, door.get("/api/similar/999999"), schema)


def test_every_operation_is_served_and_described(described: dict) -> None:
    told = {(method.upper(), path) for path, said in described["paths"].items() for method in said}
    files = {("GET", one.path) for one in FILES}
    assert told == {(one.method, one.path) for one in OPERATIONS} | files


def test_parameters_are_the_options_of_the_command_line() -> None:
    """By name; but for what makes no sense for a client, and --all, which stands for two."""
    names = {one.field: one.name for one in OPTIONS if not one.only_json}
    flags = {flag.field: flag.names[0].removeprefix("--") for flag in SEARCH_FLAGS}
    flags["k"] = "k"
    assert {field: flags[field] for field in names if field not in ("relevant", "fold")} == {
        field: name for field, name in names.items() if field not in ("relevant", "fold")
    }
    assert {flag.field for flag in FILTER_FLAGS} == {
        one.field for one in FILTERS if not one.only_json
    }
    for flag in SEARCH_FLAGS:
        if flag.field in names:
            one = next(one for one in OPTIONS if one.field == flag.field)
            assert tuple(one.choices) == tuple(flag.choices), one.name


# what nobody expects


def test_who_comes_when_too_many_wait_is_told_to_come_again(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: object) -> None:
        raise ServerBusy("512 looks wait already: try again later")

    with monkeypatch.context() as patch, Library.open(door.address) as remote:
        patch.setattr(Library, "photos", busy)
        answer = door.get("/api/photos", ids="1")
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert answer.json["error"]["kind"] == "ServerBusy"
        asked = remote._searcher.photos
        with pytest.raises(ServerBusy, match="512 looks"):
            asked([1])


def test_a_fault_is_told_in_a_line_and_logged(
    door: Door, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a secret\nof ours")

    with monkeypatch.context() as patch:
        patch.setattr(Library, "details", fail)
        answer = door.get("/api/photos/1")
    assert (answer.status, answer.json["error"]["kind"]) == (500, "Fault")
    assert b"secret" not in answer.body
    assert "content-security-policy" in answer.headers
    assert "not answered, by a fault: RuntimeError: a secret" in caplog.messages
    assert door.get("/api/photos/1").status == 200


def test_a_client_that_goes_in_the_middle_harms_nobody(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    host = urlsplit(door.address)
    for sent in (b"{", b""):
        with socket.create_connection((host.hostname, host.port), timeout=30) as connection:
            head = (
                f"POST /api/search HTTP/1.1\r\nHost: {host.netloc}\r\nContent-Length: 100\r\n\r\n"
            )
            connection.sendall(head.encode() + sent)
    assert door.get("/api/health").status == 200
    assert not [one for one in caplog.records if one.levelname == "ERROR"]


def test_ids_of_any_size_are_no_photo(door: Door) -> None:
    for number in (0, 2**63 - 1, 2**63, 10**40):
        assert door.get(f"/api/photos/{number}").status == 404
        assert door.get(f"/api/similar/{number}").status == 404
    assert door.get("/api/photos/-1").status == 404
