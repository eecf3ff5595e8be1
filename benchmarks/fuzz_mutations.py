"""Damaging real files, with an eye for how each format is built; bytes and dice in, bytes out."""

from __future__ import annotations

import copy
import json
import struct
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

EXTREMES = (0, 1, 2, 3, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000)
EXTREMES += (0xFFFFFFF0, 0xFFFFFFFF, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
Mutation = Callable[[bytes, Random], bytes]


# Any bytes


def flip_bits(data: bytes, dice: Random) -> bytes:
    out = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 4, 16)) if out else 0):
        out[dice.randrange(len(out))] ^= 1 << dice.randrange(8)
    return bytes(out)


def set_number(data: bytes, dice: Random) -> bytes:
    """Put an extreme number of 1 to 8 bytes somewhere, more often near the start."""
    size = dice.choice((1, 2, 4, 4, 8))
    if len(data) < size:
        return data
    end = len(data) - size + 1
    at = dice.randrange(min(end, dice.choice((64, 512, end))))
    value = dice.choice(EXTREMES) % (1 << 8 * size)
    return data[:at] + value.to_bytes(size, dice.choice(("big", "little"))) + data[at + size :]


def truncate(data: bytes, dice: Random) -> bytes:
    return data[: dice.randrange(len(data) + 1)]


def delete_run(data: bytes, dice: Random) -> bytes:
    at, size = dice.randrange(len(data) + 1), dice.choice((1, 4, 64, 1024))
    return data[:at] + data[at + size :]


def repeat_run(data: bytes, dice: Random) -> bytes:
    at, size = dice.randrange(len(data) + 1), dice.choice((1, 4, 64, 1024))
    return data[:at] + data[at : at + size] * dice.choice((2, 3, 50)) + data[at + size :]


def overwrite_run(data: bytes, dice: Random) -> bytes:
    at, size = dice.randrange(len(data) + 1), dice.choice((1, 4, 16, 256))
    run = dice.choice((b"\0" * size, b"\xff" * size, dice.randbytes(size)))
    return data[:at] + run + data[at + size :]


ANYWHERE: tuple[Mutation, ...] = (
    flip_bits,
    set_number,
    truncate,
    delete_run,
    repeat_run,
    overwrite_run,
)


def damage_bytes(data: bytes, dice: Random) -> bytes:
    return dice.choice(ANYWHERE)(data, dice)


def splice(one: bytes, other: bytes, dice: Random) -> bytes:
    """Join the start of one file and the end of another."""
    return one[: dice.randrange(len(one) + 1)] + other[dice.randrange(len(other) + 1) :]


# Pictures


def damage_picture(data: bytes, other: bytes, dice: Random) -> bytes:
    """Damage a picture: half of the time inside its structure, else anywhere."""
    if dice.random() < 0.07:
        return splice(data, other, dice)
    inside = _by_structure(data)
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        if inside is not None and dice.random() < 0.6:
            try:
                data = inside(data, dice)
            except (IndexError, ValueError, struct.error, zlib.error, OverflowError):
                data = damage_bytes(data, dice)  # an earlier damage hides the structure
        else:
            data = damage_bytes(data, dice)
    return data


def _by_structure(data: bytes) -> Mutation | None:
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return damage_png
    if data[:2] == b"\xff\xd8":
        return damage_jpeg
    if data[:4] == b"RIFF":
        return damage_riff
    if data[4:8] in (b"ftyp", b"jP  "):
        return damage_boxes
    if data[:4] in (b"II*\0", b"MM\0*"):
        return damage_tiff
    return None


def _shuffle_parts(parts: list[bytes], dice: Random) -> None:
    """Delete, repeat or swap whole parts."""
    if not parts:
        return
    one, other = dice.randrange(len(parts)), dice.randrange(len(parts))
    action = dice.randrange(3)
    if action == 0:
        del parts[one]
    elif action == 1:
        parts.insert(other, parts[one])
    else:
        parts[one], parts[other] = parts[other], parts[one]


def damage_png(data: bytes, dice: Random) -> bytes:
    """Damage chunks and give them right lengths and checksums again."""
    chunks: list[tuple[bytes, bytes]] = []
    at = 8
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    which = dice.randrange(len(chunks))
    kind, body = chunks[which]
    if kind == b"IHDR" and dice.random() < 0.7:
        fields = list(struct.unpack(">IIBBBBB", body))
        fields[dice.randrange(7)] = dice.choice((0, 1, 2, 3, 4, 6, 8, 16, 255))
        if dice.random() < 0.3:
            fields[dice.randrange(2)] = dice.choice((9_000, 100_000, 0x7FFFFFFF))
        chunks[which] = kind, struct.pack(">IIBBBBB", *fields)
    elif kind == b"IDAT" and dice.random() < 0.5:
        plain = zlib.decompressobj().decompress(body, 1 << 22)
        chunks[which] = kind, zlib.compress(damage_bytes(plain, dice), 1)
    elif dice.random() < 0.2:
        bomb = zlib.compress(bytes(dice.choice((1 << 10, 1 << 24, 1 << 26))), 9)
        new = dice.choice((b"zTXt", b"iCCP", b"iTXt"))
        middle = b"x\0\1\0en\0x\0" if new == b"iTXt" else b"x\0\0"
        chunks.insert(dice.randrange(1, len(chunks) + 1), (new, middle + bomb))
    else:
        chunks[which] = kind, damage_bytes(body, dice)
    parts = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    ]
    if dice.random() < 0.3:
        _shuffle_parts(parts, dice)
    return data[:8] + b"".join(parts)


def damage_jpeg(data: bytes, dice: Random) -> bytes:
    """Damage the segments before the pixels and give them right lengths again."""
    segments, rest = jpeg_segments(data)
    which = dice.randrange(len(segments))
    marker, body = segments[which][:2], segments[which][4:]
    if marker[1] in (0xC0, 0xC1, 0xC2) and dice.random() < 0.5:
        side = struct.pack(">H", dice.choice((0, 1, 7, 8000, 0xFFFF)))
        body = body[:1] + side + body[3:] if dice.random() < 0.5 else body[:3] + side + body[5:]
    else:
        body = damage_bytes(body, dice)[:65533]
    segments[which] = marker + struct.pack(">H", len(body) + 2) + body
    if dice.random() < 0.3:
        _shuffle_parts(segments, dice)
    if dice.random() < 0.3:
        rest = damage_bytes(rest, dice)
    return data[:2] + b"".join(segments) + rest


def jpeg_segments(data: bytes) -> tuple[list[bytes], bytes]:
    """Return the segments of a JPEG before its pixels, and all that follows."""
    segments = []
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        segments.append(data[at : at + 2 + size])
        at += 2 + size
    return segments, data[at:]


def damage_riff(data: bytes, dice: Random) -> bytes:
    """Damage the chunks of a WebP; mostly with right lengths afterwards."""
    parts = []
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        parts.append(data[at : at + 8 + size + size % 2])
        at += 8 + size + size % 2
    which = dice.randrange(len(parts))
    kind, body = parts[which][:4], damage_bytes(parts[which][8:], dice)
    size = len(body) if dice.random() < 0.8 else dice.choice(EXTREMES) % (1 << 32)
    parts[which] = kind + struct.pack("<I", size) + body + b"\0" * (len(body) % 2)
    if dice.random() < 0.3:
        _shuffle_parts(parts, dice)
    content = data[8:12] + b"".join(parts)
    return data[:4] + struct.pack("<I", len(content)) + content


_HOLDS_BOXES = {b"meta": 4, b"iprp": 0, b"ipco": 0, b"jp2h": 0, b"moov": 0, b"trak": 0, b"iref": 4}


def _boxes(data: bytes, start: int, end: int) -> list[tuple[int, int]]:
    """Return (start, end) of each box of an ISO base media file, at any depth."""
    found = []
    while start + 8 <= end:
        size = int.from_bytes(data[start : start + 4], "big")
        if size < 8 or start + size > end:
            break
        found.append((start, start + size))
        kind = data[start + 4 : start + 8]
        if kind in _HOLDS_BOXES:
            found += _boxes(data, start + 8 + _HOLDS_BOXES[kind], start + size)
        start += size
    return found


def damage_boxes(data: bytes, dice: Random) -> bytes:
    """Damage one box of a HEIF, AVIF or JPEG 2000 file: its size, its kind or what it holds."""
    boxes = _boxes(data, 0, len(data))
    kinds = [data[start + 4 : start + 8] for start, _ in boxes]
    start, end = dice.choice(boxes)
    action = dice.randrange(4)
    if action == 0:
        size = dice.choice((*(extreme % (1 << 32) for extreme in EXTREMES), end - start + 8))
        return data[:start] + struct.pack(">I", size) + data[start + 4 :]
    if action == 1:
        return data[: start + 4] + dice.choice(kinds) + data[start + 8 :]
    if action == 2:
        body = set_number(data[start + 8 : end], dice)
    else:
        body = flip_bits(data[start + 8 : end], dice)
    return data[: start + 8] + body + data[end:]


def damage_tiff(data: bytes, dice: Random) -> bytes:
    """Give one entry of a TIFF directory another tag, type, count or value."""
    order = "<" if data[:1] == b"I" else ">"
    (directory,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, directory)
    at = directory + 2 + 12 * dice.randrange(count)
    tag, kind, values, value = struct.unpack_from(order + "HHII", data, at)
    action = dice.randrange(4)
    if action == 0:
        tag = dice.choice((256, 257, 258, 259, 262, 273, 277, 278, 279, 322, 324, 330, 34675, 317))
    elif action == 1:
        kind = dice.choice((0, 1, 2, 3, 4, 5, 7, 9, 10, 11, 12, 13, 16, 0xFFFF))
    elif action == 2:
        values = dice.choice(EXTREMES) % (1 << 32)
    else:
        value = dice.choice((*EXTREMES, value + 1, value - 1, directory, len(data))) % (1 << 32)
    return data[:at] + struct.pack(order + "HHII", tag, kind, values, value) + data[at + 12 :]


# EXIF

_EXIF_TAGS = (
    0x010F,
    0x0110,
    0x0112,
    0x0132,
    0x8769,
    0x8825,
    0xA005,
    0x927C,
    0x014A,
    0x0201,
    0x0202,
)
_DETAIL_TAGS = (0x9003, 0x9011, 0x9004, 0x9012, 0x9010, 0xA434, 0xA005, 0x927C)
_GPS_TAGS = (1, 2, 3, 4, 5, 6, 29)
_EXIF_TEXTS = (
    b"2024:05:06 07:08:09\0",
    b"0000:00:00 00:00:00\0",
    b"2024:13:45 99:99:99\0",
    b"+01:00\0",
    b"N\0",
    b"W\0",
    b"Canon\0",
    b"\xff\xfe\x80\0",
    b"\xc3\xa9\xf0\x9f\x98\x80\0",
    b" \0 \0",
    b"x" * 3000,
)


def random_exif(dice: Random) -> bytes:
    """Return a TIFF block of directories with odd tags, types, counts, values and loops."""
    order = dice.choice("<>")
    blocks: list[tuple[tuple[int, ...], int]] = []  # tags, where
    out = bytearray((b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8))
    plan = [_EXIF_TAGS, _DETAIL_TAGS, _GPS_TAGS]
    sizes = [dice.randrange(1, 9) for _ in plan]
    at = 8
    for tags, size in zip(plan, sizes, strict=True):
        blocks.append((tags, at))
        at += 2 + 12 * size + 4
    pool = at
    extra = bytearray()
    starts = {0x8769: blocks[1][1], 0x8825: blocks[2][1]}
    for (tags, where), size in zip(blocks, sizes, strict=True):
        out += struct.pack(order + "H", size if dice.random() < 0.95 else 0xFFFF)
        for _ in range(size):
            tag = dice.choice(tags) if dice.random() < 0.95 else dice.randrange(1 << 16)
            body, kind, count = _exif_value(order, dice)
            if tag in starts and dice.random() < 0.8:
                kind, count = 4, 1
                body = struct.pack(order + "I", starts[tag] if dice.random() < 0.8 else where)
            if len(body) > 4:
                body, extra = struct.pack(order + "I", pool + len(extra)), extra + body
            out += struct.pack(order + "HHI", tag, kind, count) + body.ljust(4, b"\0")
        out += struct.pack(order + "I", dice.choice((0, 0, 8, where, 0xFFFFFFFF)))
    out += extra
    return flip_bits(bytes(out), dice) if dice.random() < 0.2 else bytes(out)


def _exif_value(order: str, dice: Random) -> tuple[bytes, int, int]:
    """Return the bytes of a value, its type and its count, which mostly fit each other."""
    numbers = [dice.choice(EXTREMES) % (1 << 32) for _ in range(6)]
    choices: tuple[tuple[bytes, int, int], ...] = (
        *((text, 2, len(text)) for text in dice.sample(_EXIF_TEXTS, 3)),
        (struct.pack(order + "H", dice.randrange(10)), 3, 1),
        (struct.pack(order + "I", numbers[0]), 4, 1),
        (struct.pack(order + "6I", *numbers), 5, 3),
        (struct.pack(order + "6I", 48, 1, 51, 1, 2999, 100), 5, 3),
        (struct.pack(order + "6I", *numbers), 10, 3),
        (struct.pack(order + "d", dice.choice((float("nan"), float("inf"), 1e308))), 12, 1),
        (struct.pack(order + "3f", float("nan"), 1e38, -1.0), 11, 3),
        (dice.randbytes(12), 7, 12),
    )
    body, kind, count = dice.choice(choices)
    if dice.random() < 0.1:
        kind = dice.choice((0, 1, 6, 8, 13, 14, 129, 0xFFFF))
    if dice.random() < 0.1:
        count = dice.choice(EXTREMES) % (1 << 32)
    return body, kind, count


# JSON

_WORDS = (
    "",
    "x" * 10_000,
    "../../../etc/passwd",
    "/dev/zero",
    "hf-hub:someone/something",
    "\ud800",
)
_WORDS += ("local-dir:/", "https://example.org/x", "cuda", "none", "mlp", "rot_attn", "shortest")
_NUMBERS = (0, 1, -1, 2, 3, 7, 0.5, -0.0, 255, 4096, 10**6, 2**31, 2**63, 10**30, 1e308)
_NUMBERS += (float("nan"), float("inf"), float("-inf"))
_ODD: tuple[Any, ...] = (None, True, False, [], {}, [1], [[]], {"a": 1}, [0.5, 0.5, 0.5], [1e9, 2])
_KEYS = ("hf_model_name", "hf_tokenizer_name", "timm_model_name", "timm_model_pretrained", "layers")
_KEYS += ("custom_text", "multimodal_cfg", "trust_remote_code", "auto_map", "tokenizer_kwargs")
_KEYS += ("pool_type", "quick_gelu", "norm_kwargs", "act_kwargs", "attentional_pool", "head_width")


def damage_json(text: bytes, dice: Random) -> bytes:
    """Change values, add and delete keys; now and then break the text itself, or nest it deep."""
    if dice.random() < 0.05:
        depth = dice.choice((500, 5_000, 200_000))
        return b'{"model_cfg":' + b"[" * depth + b"]" * depth + b"}"
    if dice.random() < 0.15:
        return damage_bytes(text, dice)
    content = copy.deepcopy(json.loads(text))
    for _ in range(dice.choice((1, 1, 2, 3))):
        _change_one(content, dice)
    return json.dumps(content).encode("utf-8", "surrogatepass")


def _change_one(content: Any, dice: Random) -> None:
    places = list(_places(content))
    if not places:
        return
    holder, key = dice.choice(places)
    if dice.random() < 0.12:
        del holder[key]
    elif dice.random() < 0.15 and isinstance(holder, dict):
        holder[dice.choice(_KEYS)] = _odd_value(dice)
    else:
        value = holder[key]
        number = isinstance(value, (int, float)) and dice.random() < 0.6
        holder[key] = dice.choice(_NUMBERS) if number else _odd_value(dice)


def _odd_value(dice: Random) -> Any:
    return copy.deepcopy(dice.choice(dice.choice((_WORDS, _NUMBERS, _ODD))))


def _places(content: Any) -> list[tuple[Any, Any]]:
    """Return (holder, key or position) of every value in a JSON document of moderate size."""
    found: list[tuple[Any, Any]] = []
    waiting = [content]
    while waiting and len(found) < 5_000:
        holder = waiting.pop()
        if isinstance(holder, (dict, list)):
            keys = list(holder) if isinstance(holder, dict) else range(len(holder))
            found += [(holder, key) for key in keys]
            waiting += [holder[key] for key in keys]
    return found
