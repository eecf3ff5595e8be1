"""Where training finds photos and captions, compared with plain readings of the same files."""

import csv
import gzip
import io
import json
import os
import pickle
import random
import re
import tarfile

import pytest
from captioned_files import facts, jpeg, with_iptc, write_shard, xmp
from example_photos import captioned_photos, shard_members

from clipsearch import Library
from clipsearch.errors import InvalidInput, LibraryNotFound
from clipsearch.training.data.source_folders import albums
from clipsearch.training.data.sources import (
    BadSample,
    hold_out,
    notes_of,
    open_data,
    open_source,
    open_sources,
    read_lines,
    read_shard,
    read_shards,
    shard_paths,
    with_labels,
)
from clipsearch.training.run_config import DataConfig

RED, BLUE, GREEN = jpeg("red"), jpeg("blue"), jpeg("green")


def everything(source):
    return [source[number] for number in range(len(source))]


def captions_by_key(source):
    return {sample.key: sample.captions for sample in everything(source)}


# shards


def test_a_shard_gives_its_photos_with_captions_and_labels(tmp_path):
    write_shard(
        tmp_path / "b.tar",
        {
            "1.jpg": b"first",
            "1.json": facts("a dog", "a brown dog"),
            "2.json": facts("a photo of a tulip", label="tulip"),
            "2.jpg": b"second",
        },
    )
    write_shard(tmp_path / "a.tar", {"x.jpg": b"zero", "x.json": facts("a cat")})
    samples = list(read_shards(shard_paths(tmp_path)))
    assert [(s.key, s.image, s.captions, s.label) for s in samples] == [
        ("x", b"zero", ("a cat",), None),
        ("1", b"first", ("a dog", "a brown dog"), None),
        ("2", b"second", ("a photo of a tulip",), "tulip"),
    ]
    assert [s.key for s in everything(open_source(tmp_path))] == ["a/x", "b/1", "b/2"]


@pytest.mark.parametrize(
    ("members", "captions", "label"),
    [
        ({"a.jpg": b"p", "a.txt": b"one\n\n  two \none\n"}, ("one", "two"), None),
        ({"a.webp": b"p", "a.json": b'{"caption": "a  dog"}'}, ("a dog",), None),
        ({"a.PNG": b"p", "a.json": b'{"text": ["x", "", null, "y"]}'}, ("x", "y"), None),
        ({"a.jpeg": b"p", "a.json": b'["x", "y"]'}, ("x", "y"), None),
        ({"a.jpg": b"p", "a.json": b'{"captions": []}', "a.txt": b"\xef\xbb\xbfx"}, ("x",), None),
        ({"a.jpg": b"p", "a.cls": b"7", "a.txt": b"x"}, ("x",), "7"),
        (
            {"a.jpg": b"p", "a.cls": b"tulip"},
            ("a photo of tulip", "a picture of tulip", "tulip"),
            "tulip",
        ),
        # What is wrong with one caption costs that caption, and half a character only itself.
        ({"a.jpg": b"p", "a.json": rb'["a dog \ud83d", "\ud83d", "x"]'}, ("a dog", "x"), None),
        (
            {"a.jpg": b"p", "a.json": rb'{"caption": "\ud83d\ude00 \u0000"}'},
            ("\U0001f600 \0",),
            None,
        ),
        ({"a.jpg": b"p", "a.json": b'{"text": [7, {"x": "y"}, ["y"], true, "x"]}'}, ("x",), None),
        ({"a.jpg": b"p", "a.json": b'["caf\xe9", "x"]'}, ("caf\xe9", "x"), None),
        ({"a.jpg": b"p", "a.json": b'\xef\xbb\xbf["x"]'}, ("x",), None),
        ({"a.jpg": b"p", "a.json": b'{"text": "x", "id": %s}' % (b"9" * 5000)}, ("x",), None),
        ({"a.jpg": b"p", "a.json": b"[" * 100_000, "a.txt": b"x"}, ("x",), None),
        ({"a.jpg": b"p", "a.json": b"{", "a.cls": b"7", "a.txt": b"x"}, ("x",), "7"),
        (
            {"a.jpg": b"p", "a.txt": b"one\r\ntwo\rcaf\xe9\n\xe2\x80\x8b\n"},
            ("one", "two", "caf\xe9"),
            None,
        ),
        ({"a.jpg": b"p", "a.txt": b"a dog \xed\xa0\xbd\n\0\n"}, ("a dog",), None),
        ({"a.jpg": b"p", "a.json": rb'{"text": "x", "label": "cat\udc00"}'}, ("x",), "cat"),
    ],
)
def test_the_usual_forms_of_a_sample_are_read(tmp_path, members, captions, label):
    (sample,) = everything(open_source(write_shard(tmp_path / "s.tar", members)))
    assert (sample.key, sample.image) == ("a", b"p")
    assert (sample.captions, sample.label) == (captions, label)


def test_keys_end_at_the_first_dot_and_members_need_not_be_neighbours(tmp_path):
    long = "a" * 150
    members = {
        "v1.0/cat.jpg": b"cat",
        "v1.0/dog.thumb.jpg": b"dog",
        f"{long}/x.jpg": b"deep",
        "._shadow.jpg": b"of macOS",
        "readme.md": b"not ours",
        "v1.0/dog.txt": b"a dog",
        "v1.0/cat.txt": b"a cat",
        f"{long}/x.txt": b"deep down",
    }
    source = open_source(write_shard(tmp_path / "s.tar", members))
    assert [(s.key, s.image, s.captions[0]) for s in everything(source)] == [
        ("v1.0/cat", b"cat", "a cat"),
        ("v1.0/dog", b"dog", "a dog"),
        (f"{long}/x", b"deep", "deep down"),
    ]


@pytest.mark.parametrize("layout", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_real_shard_reads_as_tarfile_and_json_read_it(tmp_path, layout):
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w", format=layout) as tar:
        for name, content in shard_members(captioned_photos(200)).items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), 1.5e9
            tar.addfile(member, io.BytesIO(content))
    with tarfile.open(path) as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}
    expected = []
    for name, image in members.items():
        if name.endswith(".jpg"):
            said = json.loads(members[name[:-3] + "json"])
            captions = [" ".join(text.split()) for text in said["captions"]]
            expected.append((name[:-4], image, captions, said.get("label")))
    source = open_source(path)
    assert source.neighbourhoods() == [range(200)]
    assert len({label for *_, label in expected}) > 10
    for number in range(len(expected)):
        sample = source[number]
        assert (sample.key, sample.image, list(sample.captions), sample.label) == expected[number]
    assert [source.key(n) for n in range(len(source))] == [key for key, *_ in expected]


def test_patterns_name_several_shards(tmp_path):
    for name in ("t-08", "t-09", "t-10", "v-08"):
        write_shard(tmp_path / f"{name}.tar", {"a.jpg": b"p", "a.txt": name.encode()})

    def names(pattern):
        return [sample.captions[0] for sample in everything(open_source(f"{tmp_path}/{pattern}"))]

    assert names("t-{08..10}.tar") == ["t-08", "t-09", "t-10"]
    assert names("{v,t}-08.tar") == ["v-08", "t-08"]
    assert names("t-*.tar") == ["t-08", "t-09", "t-10"]
    assert names("t-0[89].tar") == ["t-08", "t-09"]
    with pytest.raises(InvalidInput, match=r"there is no .*t-07\.tar"):
        names("t-{07..09}.tar")


def cut(path, size):
    path.write_bytes(path.read_bytes()[:size])


def damage_second_header(path):
    content = bytearray(path.read_bytes())
    content[1024:1028] = b"\xff\xff\xff\xff"  # a header and a block of content come before
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda p: p.unlink(), "there is no"),
        (lambda p: p.write_bytes(b""), "no tar file, or damaged: empty file"),
        (lambda p: p.write_bytes(b"hello" * 1000), "no tar file, or damaged"),
        (lambda p: p.write_bytes(gzip.compress(p.read_bytes())), "is compressed: unpack it"),
        (lambda p: cut(p, 600), "is cut short"),
        (lambda p: cut(p, 700 + 512), "is cut short"),
        (lambda p: cut(p, 2048), "is cut short"),
        (damage_second_header, "damaged at byte 1,024"),
    ],
)
def test_a_spoiled_shard_is_named_before_the_work_starts(tmp_path, spoil, complaint):
    members = {"a.jpg": b"p", "a.txt": b"x", "b.jpg": b"p", "b.txt": b"y"}
    path = write_shard(tmp_path / "s.tar", members)
    spoil(path)
    with pytest.raises(InvalidInput, match=complaint) as raised:
        open_source(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_photos_without_captions_are_bad_samples_with_a_reason(tmp_path):
    members = {
        **{"1.jpg": b"p", "1.json": facts()},
        **{"2.jpg": b"p", "2.json": b"{"},
        **{"3.jpg": b"", "3.txt": b"x", "4.jpg": b"p", "5.txt": b"no picture", "6.jpg": b"p"},
        **{"6.txt": b" \n"},
        **{"7.jpg": b"p", "7.txt": b"good"},
        **{"8.jpg": b"p", "8.json": b"[" * 100_000, "9.jpg": b"p", "9.json": rb'["\ud83d", 3]'},
        **{"10.jpg": b"p", "10.json": '["\u200b\\u0000\u3000"]'.encode()},
    }
    source = open_source(write_shard(tmp_path / "s.tar", members))
    reasons = {}
    for number in range(len(source)):
        try:
            assert source[number].captions == ("good",)
        except BadSample as error:
            reasons[error.key] = pickle.loads(pickle.dumps(error)).reason
    assert reasons == {
        "1": "no caption",
        "2": "its json can't be read",
        "3": "the picture is empty",
        "4": "no caption",
        "6": "no caption",
        "8": "its json can't be read",
        "9": "no caption",
        "10": "no caption",
    }
    with pytest.raises(ValueError, match=r"^1: no caption$"):
        list(read_shard(tmp_path / "s.tar"))


def test_a_shard_that_shrinks_during_training_costs_only_its_samples(tmp_path):
    path = write_shard(tmp_path / "s.tar", {"a.jpg": b"p", "a.txt": b"x"})
    source = open_source(path)
    cut(path, 600)
    with pytest.raises(BadSample, match="has changed since training began"):
        source[0]


# tables


def photo_folder(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(name.encode())
    return folder


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", 'image,caption\na.jpg,one\nb.jpg,"two, or\n""three"""\na.jpg,four\n'),
        ("t.tsv", 'image\tcaption\na.jpg\tone\nb.jpg\t"two, or\n""three"""\na.jpg\tfour\n'),
        ("t.csv", 'filepath\ttitle\na.jpg\tone\nb.jpg\t"two, or\n""three"""\na.jpg\tfour\n'),
        ("t.csv", '\ufeffFile;Text;n\na.jpg;one;1\nb.jpg;"two, or\n""three""";2\na.jpg;four;3\n'),
        (
            "t.jsonl",
            '{"image": "a.jpg", "caption": ["one", "four"]}\n\n'
            '{"image": "b.jpg", "text": 0, "caption": "two, or\\n\\"three\\""}\n',
        ),
    ],
)
def test_tables_in_the_usual_forms_give_the_same_photos(tmp_path, name, text):
    photo_folder(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    assert [(s.key, s.image, s.captions) for s in everything(open_source(tmp_path / name))] == [
        ("a.jpg", b"a.jpg", ("one", "four")),
        ("b.jpg", b"b.jpg", ('two, or "three"',)),
    ]


def test_a_table_of_real_captions_reads_as_the_csv_module_reads_it(tmp_path):
    samples = captioned_photos(50)
    for sample in samples:
        (tmp_path / f"{sample.key}.jpg").write_bytes(sample.image)
    with (tmp_path / "captions.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "caption"])
        writer.writerows([f"{s.key}.jpg", text] for s in samples for text in s.captions)
    again = everything(open_source(tmp_path / "captions.csv"))
    assert [(s.key[:-4], s.image, s.captions) for s in again] == [
        (s.key, s.image, s.captions) for s in samples
    ]


def test_columns_can_be_named_and_labels_are_taken(tmp_path):
    photo_folder(tmp_path / "pictures", "a.jpg", "b.jpg")
    (tmp_path / "t.csv").write_text(
        "image,where,caption,says,label\nno,pictures/a.jpg,no,yes,dog\nno,pictures/b.jpg,no,,cat\n"
    )
    source = open_source(tmp_path / "t.csv", image_key="where", caption_key="says")
    assert [(s.captions, s.label) for s in everything(source)] == [
        (("yes",), "dog"),
        (("a photo of cat", "a picture of cat", "cat"), "cat"),
    ]


def test_a_picture_that_is_not_there_is_a_bad_sample(tmp_path):
    photo_folder(tmp_path, "b.jpg")
    (tmp_path / "t.csv").write_text("image,caption\na.jpg,one\nb.jpg,two\n")
    source = open_source(tmp_path / "t.csv")
    with pytest.raises(BadSample, match=r"^a\.jpg: the picture can't be read: No such file"):
        source[0]
    assert source[1].image == b"b.jpg"


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("t.csv", "a,b\n1,2\n", r"no column of pictures .*it has: a, b"),
        ("t.csv", "image,b\n1,2\n", r"no column of captions .*it has: image, b"),
        ("t.csv", "", "has no rows"),
        ("t.csv", "image,caption\n", "has no rows"),
        ("t.csv", "image,caption\nx.jpg,\n", r"can be learned from: the picture can't be read"),
        ("t.csv", "image,caption\na.jpg,\n", r"can be learned from: no caption \(a\.jpg, for one"),
        ("t.csv", "image,caption\n,x\n", "no row of .* names a picture"),
        ("t.csv", "image,caption\nhttps://x.org/a.jpg,x\n", "download the pictures first"),
        ("t.csv", "image,caption\udcff\na.jpg,x\n", "not text in UTF-8"),
        ("t.csv", '"image,caption\na.jpg,x\n', "no column of pictures"),
        ("t.csv", f"image,caption\na.jpg,{'x' * 200_000}\n", "line 2: a field too long"),
        ("t.jsonl", '{"image": "a"', "line 1: not a JSON object"),
        ("t.jsonl", "[" * 100_000, "line 1: not a JSON object"),
        ("t.xls", "x", r"is no \.tar, \.csv"),
    ],
)
def test_a_table_that_cannot_serve_is_named_before_the_work_starts(tmp_path, name, text, complaint):
    photo_folder(tmp_path, "a.jpg")
    (tmp_path / name).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InvalidInput, match=complaint) as raised:
        open_source(tmp_path / name)
    assert "\n" not in str(raised.value)


LINES = {
    # rows that are good, and one in the middle; what the table gives, and what it says
    "half a character": (
        *("jsonl", rb'{"image": "b.jpg", "caption": "a dog \ud83d"}'),
        *({"b.jpg": ("a dog",)}, []),
    ),
    "half an object": ("jsonl", b'{"image": "b.jpg", "ca', {}, ["line 2: not a JSON object"]),
    "a list": ("jsonl", b'["b.jpg", "two"]', {}, ["line 2: not a JSON object"]),
    "deep": ("jsonl", b"[" * 100_000, {}, ["line 2: not a JSON object"]),
    "a huge number": (
        *("jsonl", b'{"image": "b.jpg", "caption": "two", "id": %s}' % (b"9" * 5000)),
        *({"b.jpg": ("two",)}, []),
    ),
    "one of several": (
        *("jsonl", b'{"image": "b.jpg", "caption": ["two", null, 2, ["x"], {"x": "y"}, " "]}'),
        *({"b.jpg": ("two",)}, []),
    ),
    "no picture": ("jsonl", b'{"image": 7, "caption": "two"}', {}, ["line 2: no picture is named"]),
    "Latin-1, JSON": (
        *("jsonl", b'{"image": "b.jpg", "caption": "caf\xe9"}'),
        *({"b.jpg": ("caf\xe9",)}, ["line 2: not text in UTF-8"]),
    ),
    "an open mark": ("csv", b'b.jpg,"two', {"b.jpg": ("two",)}, ["line 3: a quotation mark"]),
    "an open mark before marks": (
        *("csv", b'b.jpg,"two\nb.jpg,"three, four"'),
        *({"b.jpg": ("two", "three, four")}, ["line 3: a quotation mark"]),
    ),
    "an open mark after marks": (
        *("csv", b'"b.jpg","two, three'),
        *({"b.jpg": ("two, three",)}, ["line 3: a quotation mark"]),
    ),
    "open marks": (
        *("csv", b'b.jpg,"two\nb.jpg,"three\nb.jpg,"four'),
        *({"b.jpg": ("two", "three", "four")}, [r"line 3: a quotation .* \(3 such lines\)"]),
    ),
    "inches": ("csv", b'b.jpg,a 24" screen', {"b.jpg": ('a 24" screen',)}, []),
    "a mark too many": ("csv", b'b.jpg,"24" screen', {"b.jpg": ("24 screen",)}, []),
    "a long field": ("csv", b"b.jpg," + b"x" * 200_000, {}, ["line 3: a field too long"]),
    "NUL": ("csv", b"b.jpg,t\0wo", {"b.jpg": ("two",)}, []),
    "Latin-1": (
        *("csv", b"b.jpg,caf\xe9"),
        *({"b.jpg": ("caf\xe9",)}, ["line 3: not text in UTF-8"]),
    ),
    "half in bytes": (
        *("csv", b"b.jpg,two \xed\xa0\xbd"),
        *({"b.jpg": ("two",)}, ["line 3: not text in UTF-8"]),
    ),
    "nobody's caption": ("csv", b",two", {}, ["line 3: no picture is named"]),
}


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("kind", LINES)
def test_a_bad_line_costs_what_is_in_it_and_is_named(tmp_path, kind, end):
    suffix, line, found, said = LINES[kind]
    photo_folder(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    if suffix == "csv":
        lines = [b"\xef\xbb\xbfimage,caption", b"a.jpg,one", line, b"c.jpg,last"]
    else:
        good = b'{"image": "%s.jpg", "caption": "%s"}'
        lines = [b"\xef\xbb\xbf" + good % (b"a", b"one"), line, good % (b"c", b"last")]
    content = b"\n".join(lines).replace(b"\n", end)
    (tmp_path / f"t.{suffix}").write_bytes(content)
    source = open_source(tmp_path / f"t.{suffix}")
    assert captions_by_key(source) == {"a.jpg": ("one",), **found, "c.jpg": ("last",)}
    assert len(source.notes) == len(said)
    for note, words in zip(source.notes, said, strict=True):
        assert re.match(f"{re.escape(str(tmp_path))}/t.{suffix}, {words}", note)


def test_a_mark_that_is_not_closed_is_found_in_a_table_of_any_length(tmp_path):
    photo_folder(tmp_path, *(f"{n}.jpg" for n in range(4)))
    texts = [f"{'a long way ' * 5}{n}" for n in range(5000)]
    rows = [f"{n % 4}.jpg,{text}" for n, text in enumerate(texts)]
    rows[0] = rows[0].replace(",", ',"')
    (tmp_path / "t.csv").write_text("\n".join(["image,caption", *rows]))
    source = open_source(tmp_path / "t.csv")
    assert captions_by_key(source) == {f"{n}.jpg": tuple(texts[n::4]) for n in range(4)}
    assert [note.partition(", ")[2][:7] for note in source.notes] == ["line 2:"]


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_every_table_that_the_csv_module_writes_reads_as_it_was(tmp_path, delimiter):
    """Fields with marks, delimiters and line ends in them, whose rows take several lines."""
    choose = random.Random(7)
    bits = ['"', '""', ",", "\t", ";", "\n", "\r\n", "a", " ", "é", "\U0001f600", "b.jpg"]
    texts = ["".join(choose.choices(bits, k=choose.randrange(9))) for _ in range(2000)]
    rows = [(f"{n % 40}.jpg", text) for n, text in enumerate(texts)]
    photo_folder(tmp_path, *(name for name, _ in rows[:40]))
    with (tmp_path / "t.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator=choose.choice(["\n", "\r\n"]))
        writer.writerows([("image", "caption"), *rows])
    expected = {}
    for name, text in rows:
        expected.setdefault(name, {})[" ".join(text.split())] = None
    source = open_source(tmp_path / "t.csv")
    found = {name: tuple(filter(None, texts)) for name, texts in expected.items()}
    assert captions_by_key(source) == found
    assert source.notes == []


def test_what_a_table_says_is_said_of_its_parts_once(tmp_path):
    photo_folder(tmp_path, *(f"{n}.jpg" for n in range(4)))
    rows = ["image,caption,label", *(f"{n}.jpg,text,dog" for n in range(4)), '3.jpg,"open']
    (tmp_path / "t.csv").write_text("\n".join(rows))
    table = str(tmp_path / "t.csv")
    (note,) = open_source(table).notes
    train, validation = open_data(DataConfig(train=(table, table), held_out=0.5, labels=("dog",)))
    assert (list(train.notes), list(validation.notes)) == ([note], [note])
    assert notes_of(train, validation, None) == [note]


def test_a_file_in_a_table_may_be_called_anything(tmp_path):
    names = ["two  blanks.jpg", os.fsdecode(b"caf\xe9.jpg")]
    for name in names:
        (tmp_path / name).write_bytes(b"p")
    rows = [{"image": name, "caption": "x"} for name in [*names, "half \ud83d.jpg"]]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    source = open_source(tmp_path / "t.jsonl")
    assert [source[0].image, source[1].image] == [b"p", b"p"]
    with pytest.raises(BadSample, match="a path that can't be"):
        source[2]
    kept, held = hold_out(source, 0.4)
    assert (len(kept), len(held)) == (2, 1)


def test_a_named_column_that_lacks_is_not_guessed(tmp_path):
    (tmp_path / "t.csv").write_text("image,caption\na.jpg,x\n")
    with pytest.raises(InvalidInput, match="has no column 'txet'; it has: image, caption"):
        open_source(tmp_path / "t.csv", caption_key="txet")


# folders


def test_captions_are_found_beside_a_picture_and_in_it(tmp_path):
    files = {
        **{"a.jpg": RED, "a.txt": b"one\ntwo\n", "a.json": b'{"caption": "not this"}'},
        **{"sub/b.jpg": RED, "sub/b.jpg.txt": b"b"},
        **{"c.jpg": RED, "c.json": b"{"},
        "h.jpg": with_iptc(
            RED, (25, b"Rex"), (25, b"2006"), (25, b"Pets|Dogs|Rex"), (25, b"garden")
        ),
        "i.jpg": jpeg("blue", xmp=xmp(keywords=("People/Anna",), faces=("Rex", "Anna"))),
        "j.jpg": jpeg("blue", xmp=b"<x:xmpmeta>broken</x:xmpmeta>"),
        ".hidden.jpg": RED,
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    source = open_source(tmp_path)
    keys = [source.key(number) for number in range(len(source))]
    assert keys == sorted([*(f"{letter}.jpg" for letter in "achij"), "sub/b.jpg"])
    with pytest.raises(BadSample, match=r"^j\.jpg: no caption$"):
        source[keys.index("j.jpg")]
    with pytest.raises(BadSample, match=r"^c\.jpg: the JSON file beside it can't be read$"):
        source[keys.index("c.jpg")]
    bad = ("c.jpg", "j.jpg")
    found = {key: source[number] for number, key in enumerate(keys) if key not in bad}
    assert {key: sample.captions for key, sample in found.items() if sample.label is None} == {
        "a.jpg": ("one", "two"),
        "sub/b.jpg": ("b",),
    }
    assert found["h.jpg"].label == "Rex, garden"
    assert found["h.jpg"].captions[::3] == (
        "a photo of Rex",
        "a photo of garden",
        "a photo of Rex and garden",
    )
    assert found["i.jpg"].label == "Rex, Anna"


def test_a_folder_with_a_table_is_that_table(tmp_path):
    photo_folder(tmp_path / "train", "a.png")
    (tmp_path / "metadata.csv").write_text("file_name,text\ntrain/a.png,hello\n")
    assert captions_by_key(open_source(tmp_path)) == {"train/a.png": ("hello",)}


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({}, r"no \.tar shard and no picture in"),
        ({"a.jpg": RED}, r"no caption \(a\.jpg, for one\); a caption lies beside its picture"),
        ({"a.jpg": RED, "a.json": b"{"}, "the JSON file beside it can't be read"),
        ({"a.jpg": RED, "a.json": b"[" * 100_000}, "the JSON file beside it can't be read"),
    ],
)
def test_a_folder_that_cannot_serve_is_named_before_the_work_starts(tmp_path, files, complaint):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInput, match=complaint):
        open_source(tmp_path)
    with pytest.raises(InvalidInput, match="there is no"):
        open_source(tmp_path / "nowhere")


# libraries


def test_a_library_gives_captions_people_and_albums(tmp_path, tiny_model_folder):
    photos = tmp_path / "Photos"
    for name, content in {
        "2021/2021-07-04 Lake Garda/a.jpg": jpeg("red"),
        "2021/2021-07-04 Lake Garda/b.jpg": jpeg("blue", xmp=xmp(faces=("Anna",))),
        "2021/2021-07-04 Lake Garda/c.jpg": jpeg("white", xmp=xmp(caption="Anna swims")),
        "DCIM/100CANON/d.jpg": jpeg("black"),
    }.items():
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        (photos / name).write_bytes(content)
    with Library(tmp_path / "library") as library:
        library.index([photos], model=str(tiny_model_folder))
    source = open_source(f"library:{tmp_path / 'library'}")
    samples = {}
    for number in range(len(source)):
        try:
            samples[source.key(number)[-5:]] = source[number]
        except BadSample as error:
            assert error.reason == "no caption"
            assert error.key.endswith("d.jpg")
    assert len(source) == 4
    lake = ("a photo of Lake Garda", "a picture of Lake Garda", "Lake Garda")
    assert (samples["a.jpg"[-5:]].captions, samples["a.jpg"].label) == (lake, "Lake Garda")
    assert samples["b.jpg"].label == "Anna, Lake Garda"
    assert "a photo of Anna and Lake Garda" in samples["b.jpg"].captions
    assert (samples["c.jpg"].captions, samples["c.jpg"].label) == (("Anna swims",), None)
    assert samples["a.jpg"].image == jpeg("red")
    with pytest.raises(LibraryNotFound):
        open_source(f"library:{tmp_path / 'no library'}")


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/p/Photos/Italy/Rome trip/a.jpg", ("Rome trip", "Italy")),
        ("/p/Photos/2019/2019-07-21_Our_garden/a.jpg", ("Our garden",)),
        ("/p/Photos/Garden 2020/a.jpg", ("Garden",)),
        ("/p/Photos/20190721 Rex/a.jpg", ("Rex",)),
        ("/p/Photos/DCIM/100APPLE/a.jpg", ()),
        ("/p/Photos/2019/07/21/a.jpg", ()),
        ("/p/Photos/Camera Roll/a.jpg", ()),
        ("/p/Rex/a.jpg", ("Rex",)),
        ("/q/Elsewhere/a.jpg", ()),
    ],
)
def test_albums_are_folders_whose_names_say_something(path, names):
    from pathlib import PurePosixPath as P

    assert albums(P(path), [P("/p/Photos"), P("/p/Rex")]) == names


# several sources, and parts of them


@pytest.fixture
def two_shards(tmp_path):
    for name, count in (("a", 30), ("b", 20)):
        members = {}
        for i in range(count):
            label = "cat" if i % 3 == 0 else "dog"
            members |= {f"{i}.jpg": b"p", f"{i}.json": facts(f"{name}{i}", label=label)}
        write_shard(tmp_path / f"{name}.tar", members)
    return [str(tmp_path / "a.tar"), str(tmp_path / "b.tar")]


def test_joined_sources_come_one_after_the_other(two_shards):
    source = open_sources(two_shards)
    samples = everything(source)
    assert [s.captions[0] for s in samples] == [f"a{i}" for i in range(30)] + [
        f"b{i}" for i in range(20)
    ]
    assert len({s.key for s in samples}) == 50
    assert [s.key for s in samples] == [source.key(number) for number in range(50)]
    assert source.neighbourhoods() == [range(30), range(30, 50)]
    assert everything(pickle.loads(pickle.dumps(source))) == samples


def test_labels_choose_samples(two_shards):
    source = open_sources(two_shards, labels=["Cat"])
    assert [s.captions[0] for s in everything(source)] == [
        *(f"a{i}" for i in range(0, 30, 3)),
        *(f"b{i}" for i in range(0, 20, 3)),
    ]
    assert source.neighbourhoods() == [range(10), range(10, 17)]
    with pytest.raises(InvalidInput, match="no sample has the label 'owl'"):
        with_labels(open_sources(two_shards), ["cat", "owl"])


def test_what_is_held_out_depends_on_the_keys_alone(two_shards):
    whole = open_sources(two_shards)
    kept, held = hold_out(whole, 0.2)
    keys = {s.key for s in everything(held)}
    assert len(held) == 10
    assert keys.isdisjoint(s.key for s in everything(kept))
    assert len(kept) == 40
    train, validation = open_data(DataConfig(train=tuple(two_shards), held_out=0.2))
    assert {s.key for s in everything(validation)} == keys
    before = {s.key for s in everything(hold_out(open_source(two_shards[0]), 0.2)[1])}
    assert len(before & keys) >= 4  # of 6: most stay when a shard is added
    assert everything(train) == everything(kept)


def test_validation_data_leaves_training_data_whole(two_shards):
    train, validation = open_data(DataConfig(train=(two_shards[0],), validation=(two_shards[1],)))
    assert (len(train), len(validation)) == (30, 20)
    assert open_data(DataConfig(train=(two_shards[0],), held_out=0))[1] is None
    with pytest.raises(InvalidInput, match=r"can't hold back 0\.01 of 30 photos"):
        open_data(DataConfig(train=(two_shards[0],), held_out=0.01))
    with pytest.raises(InvalidInput, match="no data is named"):
        open_data(DataConfig())


def test_text_lines_are_read_packed_or_not_without_blank_ones(tmp_path):
    text = b"\xef\xbb\xbfa dog\r\n\n  a caf\xc3\xa9 by the sea \n\xe9t\xe9"
    (tmp_path / "plain.txt").write_bytes(text)
    (tmp_path / "packed.txt.gz").write_bytes(gzip.compress(text))
    for name in ("plain.txt", "packed.txt.gz"):
        assert read_lines(tmp_path / name) == ["a dog", "a café by the sea", "été"]


def test_a_folder_without_shards_is_named(tmp_path):
    with pytest.raises(InvalidInput, match=r"no \.tar shard in"):
        shard_paths(tmp_path)
