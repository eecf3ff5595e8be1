"""Odd pictures, made here bit by bit or by Pillow, each with what it must show or why it must fail.

What a picture shows is worked out with numpy from the values that were put into it, never by the
program that reads it.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pillow_heif
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

HEIGHT, WIDTH = 21, 31  # odd, so that rows end inside bytes and blocks

Pixels = NDArray[np.uint8]
Values = NDArray[np.int64]


@dataclass(frozen=True)
class OddPicture:
    """The bytes of a file, and the picture (height, width, 3) or the reason that they give."""

    data: bytes
    shows: Pixels | None = None
    within: float = 0  # levels of 255 by which any pixel may differ
    fails: str = ""  # how the reason begins


Found = Iterator[tuple[str, OddPicture]]


# Values, and what they look like


@cache
def values(depth: int, channels: int = 1) -> Values:
    """Return whole numbers of so many bits without any order, (height, width, channels)."""
    random = np.random.default_rng(depth * 10 + channels)
    made = random.integers(0, 1 << depth, (HEIGHT, WIDTH, channels))
    made[0, 0], made[0, 1] = 0, (1 << depth) - 1  # both ends: by them a decoder may know the range
    return made


def shown(made: NDArray[np.generic], white: float = 255) -> Pixels:
    """Return as RGB what gray (n, m, 1) or RGB (n, m, 3) looks like, where `white` is white."""
    scaled = np.clip(np.rint(np.asarray(made, float) * 255 / white), 0, 255).astype(np.uint8)
    return np.broadcast_to(scaled, (*scaled.shape[:2], 3)).copy()


def on_white(rgb: Pixels, alpha: Pixels) -> Pixels:
    """Return a picture (n, m, 3) laid on white, as opaque as `alpha` (n, m, 1) says."""
    share = alpha / 255.0
    return np.rint(rgb * share + 255 * (1 - share)).astype(np.uint8)


def printed(cmyk: NDArray[np.generic]) -> Pixels:
    """Return what four inks (n, m, 4), each of 0 to 255, leave of white."""
    inks = np.asarray(cmyk, float) / 255
    return np.rint(255 * (1 - inks[..., :3]) * (1 - inks[..., 3:])).astype(np.uint8)


@cache
def smooth() -> Pixels:
    """Return a picture that lossy formats keep: (64, 96, 3), unlike its mirror images."""
    y, x = np.mgrid[0:64, 0:96] / 96
    return (
        np.stack([60 + 150 * x, 200 - 150 * y, 90 + 80 * x * y], axis=-1).round().astype(np.uint8)
    )


# How EXIF's eight orientations are undone.
UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


def packed(made: Values, depth: int, order: str = ">") -> list[bytes]:
    """Return the rows of (n, m, channels) as bytes, several values in one where they are small."""
    flat = made.reshape(len(made), -1)
    if depth >= 8:
        return [row.astype(f"{order}u{depth // 8}").tobytes() for row in flat]
    bits = (flat[..., None] >> np.arange(depth)[::-1]) & 1
    return [np.packbits(row).tobytes() for row in bits.reshape(len(flat), -1).astype(np.uint8)]


def saved(pixels: NDArray[np.uint8] | Image.Image, format_name: str, **options: object) -> bytes:
    """Return a picture as Pillow or pillow-heif write it."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    if format_name == "HEIF":
        pillow_heif.from_pillow(image).save(file, **options)
    else:
        image.save(file, format_name, **options)
    return file.getvalue()


# PNG


GRAY, RGB, PALETTE, GRAY_ALPHA, RGBA = 0, 2, 3, 4, 6  # of PNG
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))
_ADAM7 += ((0, 1, 1, 2),)


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG."""
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png(made: Values, depth: int, kind: int, *chunks: bytes, interlaced: bool = False) -> bytes:
    """Return a PNG of these values, its chunks before the pixels."""
    height, width = made.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, int(interlaced))
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    parts = [made[top::down, left::across] for left, top, across, down in passes]
    rows = [b"\0" + row for part in parts if part.size for row in packed(part, depth)]
    body = [chunk(b"IHDR", header), *chunks, chunk(b"IDAT", zlib.compress(b"".join(rows)))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body) + chunk(b"IEND", b"")


def colours(count: int) -> Pixels:
    """Return a palette of so many colours, (count, 3)."""
    return np.random.default_rng(count).integers(0, 256, (count, 3)).astype(np.uint8)


def pngs() -> Found:
    """Yield PNG of every kind and depth, plain and interlaced, and with transparent colours."""
    for interlaced in (False, True):
        way = "interlaced " if interlaced else ""
        for depth in (1, 2, 4, 8, 16):
            made, white = values(depth), 2**depth - 1
            data = png(made, depth, GRAY, interlaced=interlaced)
            yield f"{way}gray {depth}.png", OddPicture(data, shown(made, white), 1)
        for depth in (1, 2, 4, 8):
            made, table = values(depth), colours(2**depth)
            data = png(made, depth, PALETTE, chunk(b"PLTE", table.tobytes()), interlaced=interlaced)
            yield f"{way}palette {depth}.png", OddPicture(data, table[made[..., 0]])
        for depth in (8, 16):
            yield from _deep_pngs(way, depth, interlaced=interlaced)
    yield from _transparent_pngs()


def _deep_pngs(way: str, depth: int, *, interlaced: bool) -> Found:
    white = 2**depth - 1
    made = values(depth, 3)
    data = png(made, depth, RGB, interlaced=interlaced)
    yield f"{way}rgb {depth}.png", OddPicture(data, shown(made, white), depth // 16)
    for name, kind, channels in (("gray", GRAY_ALPHA, 1), ("rgb", RGBA, 3)):
        made = values(depth, channels + 1)
        colour, alpha = shown(made[..., :channels], white), shown(made[..., channels:], white)
        data = png(made, depth, kind, interlaced=interlaced)
        yield f"{way}{name} with alpha {depth}.png", OddPicture(data, on_white(colour, alpha), 2)


def _transparent_pngs() -> Found:
    made = values(8)
    see_through = made == made[5, 5]
    data = png(made, 8, GRAY, chunk(b"tRNS", struct.pack(">H", made[5, 5, 0])))
    yield "a transparent gray.png", OddPicture(data, np.where(see_through, 255, shown(made)))
    made = values(8, 3)
    see_through = (made == made[5, 5]).all(axis=2, keepdims=True)
    data = png(made, 8, RGB, chunk(b"tRNS", struct.pack(">3H", *made[5, 5].tolist())))
    yield "a transparent colour.png", OddPicture(data, np.where(see_through, 255, shown(made)))
    for depth in (1, 4, 8):
        made, table = values(depth), colours(2**depth)
        alpha = np.arange(len(table), dtype=np.uint8) * (255 // (len(table) - 1))
        chunks = chunk(b"PLTE", table.tobytes()), chunk(b"tRNS", alpha.tobytes())
        expected = on_white(table[made[..., 0]], alpha[made])
        data = png(made, depth, PALETTE, *chunks)
        yield f"a transparent palette {depth}.png", OddPicture(data, expected, 1)


# TIFF


def tiff(rows: Sequence[bytes], tags: dict[int, Sequence[int]], order: str = "<") -> bytes:
    """Return an uncompressed TIFF of one strip a row; `tags` beside size and place of the strips.

    `order` is < for Intel's byte order and > for Motorola's. All values are 16 or 32 bits.
    """
    strips = len(rows)
    entries: dict[int, tuple[int, Sequence[int]]] = {tag: (3, v) for tag, v in tags.items()}
    entries |= {257: (3, [HEIGHT]), 259: (3, [1]), 278: (3, [1]), 256: (3, [WIDTH])}
    entries |= {273: (4, [0] * strips), 279: (4, [len(row) for row in rows])}
    start = 8 + 2 + 12 * len(entries) + 4
    sizes = {tag: len(v) * (2 if kind == 3 else 4) for tag, (kind, v) in entries.items()}
    pixels = start + sum(size + size % 2 for size in sizes.values() if size > 4)
    ends = np.cumsum([0, *(len(row) for row in rows)])[:-1] + pixels
    entries[273] = 4, ends.tolist()
    directory, extra = struct.pack(f"{order}H", len(entries)), b""
    for tag, (kind, numbers) in sorted(entries.items()):
        content = struct.pack(f"{order}{len(numbers)}{'H' if kind == 3 else 'I'}", *numbers)
        directory += struct.pack(f"{order}HHI", tag, kind, len(numbers))
        if len(content) > 4:
            directory += struct.pack(f"{order}I", start + len(extra))
            extra += content + b"\0" * (len(content) % 2)
        else:
            directory += content.ljust(4, b"\0")
    mark = b"II*\0" if order == "<" else b"MM\0*"
    head = mark + struct.pack(f"{order}I", 8) + directory + bytes(4)
    return head + extra + b"".join(rows)


def tags(
    photometric: int, bits: int, channels: int = 1, **more: Sequence[int]
) -> dict[int, object]:
    """Return the tags that say how values are meant: 0, 1 gray, 2 RGB, 3 palette, 5 CMYK."""
    names = {"sample_format": 339, "extra": 338, "orientation": 274, "planes": 284, "palette": 320}
    kept = {262: [photometric], 258: [bits] * channels, 277: [channels]}
    return kept | {names[name]: numbers for name, numbers in more.items()}


def tiffs() -> Found:
    """Yield TIFF of every kind and depth, in both byte orders."""
    for order, maker in (("<", "intel"), (">", "motorola")):
        for depth in (1, 2, 4, 8, 16):
            made, white = values(depth), 2**depth - 1
            rows = packed(made, depth, order)
            data = tiff(rows, tags(1, depth), order)
            yield f"{maker} gray {depth}.tif", OddPicture(data, shown(made, white), 1)
            if depth <= 8:
                data = tiff(rows, tags(0, depth), order)
                inverted = OddPicture(data, shown(white - made, white), 1)
                yield f"{maker} inverted gray {depth}.tif", inverted
        for depth in (8, 16):
            made, white = values(depth, 3), 2**depth - 1
            data = tiff(packed(made, depth, order), tags(2, depth, 3), order)
            yield f"{maker} rgb {depth}.tif", OddPicture(data, shown(made, white), depth // 16)
    yield from _deep_tiffs()
    yield from _coloured_tiffs()
    yield from _packed_tiffs()


def _deep_tiffs() -> Found:
    """Gray whose values fill less or more than 16 bits, have a sign, or are fractions."""
    for depth in (10, 12, 14):
        data = tiff(packed(values(depth), 16, "<"), tags(1, 16))
        expected = shown(values(depth), 2**depth - 1)
        yield f"{depth} bits in 16.tif", OddPicture(data, expected, 1)
    signed = values(16) - 32768
    rows = [row.astype("<i2").tobytes() for row in signed.reshape(HEIGHT, -1)]
    data = tiff(rows, tags(1, 16, sample_format=[2]))
    yield "signed 16.tif", OddPicture(data, shown(signed + 32768, 65535), 1)
    for white in (1.0, 255.0):
        fractions = (values(16) * (white / 65535)).astype("<f4")
        data = tiff([row.tobytes() for row in fractions], tags(1, 32, sample_format=[3]))
        yield f"fractions up to {white:g}.tif", OddPicture(data, shown(fractions, white), 1)
    with_holes = (values(16) / 65535).astype("<f4")
    with_holes[3], with_holes[4] = np.nan, np.inf
    data = tiff([row.tobytes() for row in with_holes], tags(1, 32, sample_format=[3]))
    filled = np.where(np.isfinite(with_holes), with_holes, 0)
    yield "fractions that are none.tif", OddPicture(data, shown(filled, 1), 1)


def _coloured_tiffs() -> Found:
    for depth in (4, 8):
        table = colours(2**depth)
        wide = (table.T.astype(int) * 257).ravel().tolist()
        data = tiff(packed(values(depth), depth), tags(3, depth, palette=wide))
        yield f"palette {depth}.tif", OddPicture(data, table[values(depth)[..., 0]], 1)
    for depth in (8, 16):
        made = values(depth, 4)
        data = tiff(packed(made, depth, "<"), tags(5, depth, 4))
        yield f"cmyk {depth}.tif", OddPicture(data, printed(shown_inks(made, depth)), 2)
    made = values(8, 4)
    colour, alpha = made[..., :3].astype(np.uint8), made[..., 3:].astype(np.uint8)
    data = tiff(packed(made, 8), tags(2, 8, 4, extra=[2]))
    yield "alpha.tif", OddPicture(data, on_white(colour, alpha), 1)
    multiplied = np.rint(colour * (alpha / 255.0)).astype(np.int64)
    data = tiff(packed(np.dstack([multiplied, alpha]), 8), tags(2, 8, 4, extra=[1]))
    yield "premultiplied alpha.tif", OddPicture(data, on_white(colour, alpha), 3)
    made = values(8, 3)
    planes = [row for channel in range(3) for row in packed(made[..., channel], 8)]
    data = tiff(planes, tags(2, 8, 3, planes=[2]))
    yield "one plane a colour.tif", OddPicture(data, shown(made))
    for turn, undo in UPRIGHT.items():
        data = tiff(packed(made, 8), tags(2, 8, 3, orientation=[turn]))
        yield f"turned {turn}.tif", OddPicture(data, undo(shown(made)))


def shown_inks(made: Values, depth: int) -> Pixels:
    """Return ink of so many bits as bytes."""
    return np.rint(made * 255 / (2**depth - 1)).astype(np.uint8)


def _packed_tiffs() -> Found:
    """As libtiff packs them: by the fax machines' codes, dictionaries, runs, and as JPEG."""
    black = values(1)[..., 0].astype(bool)
    for way in ("group3", "group4", "tiff_ccitt"):
        data = saved(Image.fromarray(black), "TIFF", compression=way)
        yield f"{way}.tif", OddPicture(data, shown(values(1), 1))
    turned = saved(Image.fromarray(black), "TIFF", compression="group4", tiffinfo={274: 6})
    yield "group4 turned.tif", OddPicture(turned, UPRIGHT[6](shown(values(1), 1)))
    for way in ("tiff_lzw", "packbits", "tiff_adobe_deflate"):
        data = saved(shown(values(8, 3)), "TIFF", compression=way)
        yield f"{way}.tif", OddPicture(data, shown(values(8, 3)))
    data = saved(smooth(), "TIFF", compression="jpeg", quality=95)
    yield "jpeg.tif", OddPicture(data, smooth(), 5)


# BMP


def bmp(
    made: Values,
    bits: int,
    *,
    table: Pixels | None = None,
    masks: Sequence[int] = (),
    rows: bytes | None = None,
    packing: int = 0,
    upwards: bool = True,
) -> bytes:
    """Return a BMP of whole values; `masks` say which bits of each are a colour."""
    height, width = made.shape[:2]
    if rows is None:
        lines = packed(made, bits, "<") if bits != 24 else packed(made[..., ::-1], 8)
        lines = [line + bytes(-len(line) % 4) for line in lines]
        rows = b"".join(reversed(lines) if upwards else lines)
    palette = b"" if table is None else np.pad(table[:, ::-1], ((0, 0), (0, 1))).tobytes()
    extra = struct.pack(f"<{len(masks)}I", *masks)
    head = 40 + (len(extra) if len(masks) == 4 else 0)  # four masks belong to a longer header
    start = 14 + 40 + len(extra) + len(palette)
    size = struct.pack("<IiiHHI", head, width, height if upwards else -height, 1, bits, packing)
    facts = struct.pack("<IiiII", len(rows), 2835, 2835, 0 if table is None else len(table), 0)
    mark = b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start)
    return mark + size + facts + extra + palette + rows


def bmps() -> Found:
    """Yield BMP of every depth, upwards and downwards, with masks and in runs."""
    for upwards in (True, False):
        way = "upwards" if upwards else "downwards"
        for bits in (1, 4, 8):
            table = colours(2**bits)
            data = bmp(values(bits), bits, table=table, upwards=upwards)
            yield f"{way} palette {bits}.bmp", OddPicture(data, table[values(bits)[..., 0]])
        made = values(8, 3)
        data = bmp(made, 24, upwards=upwards)
        yield f"{way} 24.bmp", OddPicture(data, shown(made))
    for name, widths in (("555", (5, 5, 5)), ("565", (5, 6, 5))):
        parts = [values(width)[..., 0] for width in widths]
        joined = (parts[0] << widths[1] | parts[1]) << widths[2] | parts[2]
        ends = np.cumsum(widths[::-1])[::-1]
        masks = [(2**w - 1) << int(end - w) for w, end in zip(widths, ends, strict=True)]
        expected = [
            np.rint(p * 255 / (2**w - 1)).astype(np.uint8)
            for p, w in zip(parts, widths, strict=True)
        ]
        data = bmp(joined[..., None], 16, masks=masks, packing=3)
        yield f"masks {name}.bmp", OddPicture(data, np.stack(expected, axis=-1), 1)
    yield from _wide_bmps()


def _wide_bmps() -> Found:
    table = colours(256)
    rows = b"".join(line + bytes(-len(line) % 4) for line in packed(values(8)[::-1], 8))
    head = struct.pack("<IHHHH", 12, WIDTH, HEIGHT, 1, 8) + table[:, ::-1].tobytes()
    mark = b"BM" + struct.pack("<IHHI", 14 + len(head) + len(rows), 0, 0, 14 + len(head))
    yield "of OS 2.bmp", OddPicture(mark + head + rows, table[values(8)[..., 0]])
    red, green, blue, alpha = (values(8, 4)[..., i].astype(np.uint8) for i in range(4))
    colour = np.stack([red, green, blue], axis=-1)
    plain = np.stack([blue, green, red, np.zeros_like(red)], axis=-1).astype(np.int64)
    yield "32.bmp", OddPicture(bmp(plain, 8).replace(b"\1\0\x08\0", b"\1\0\x20\0", 1), colour)
    through = np.stack([blue, green, red, alpha], axis=-1).astype(np.int64)
    masks = [0xFF0000, 0xFF00, 0xFF, 0xFF000000]
    rows = b"".join(packed(through, 8)[::-1])
    data = bmp(through, 32, masks=masks, packing=3, rows=rows)
    yield "32 with alpha.bmp", OddPicture(data, on_white(colour, alpha[..., None]), 1)
    made, table = values(8)[..., 0], colours(256)
    runs = b"".join(
        b"".join(bytes([1, value]) for value in row) + b"\0\0" for row in made[::-1].tolist()
    )
    data = bmp(values(8), 8, table=table, rows=runs + b"\0\1", packing=1)
    yield "in runs.bmp", OddPicture(data, table[made])


# PNM


def pnms() -> Found:
    """Yield the portable maps: as text and bytes, of one bit to floating point."""
    size = f"{WIDTH} {HEIGHT}"

    def text(kind: str, made: Values, white: int | str) -> bytes:
        return f"{kind}\n# a comment\n{size}\n{white}\n".encode() + b" ".join(
            str(number).encode() for number in made.ravel().tolist()
        )

    bits = values(1)
    yield "text.pbm", OddPicture(text("P1", bits, ""), shown(1 - bits, 1))
    yield "text.pgm", OddPicture(text("P2", values(8), 255), shown(values(8)))
    yield "text.ppm", OddPicture(text("P3", values(8, 3), 255), shown(values(8, 3)))
    data = f"P4\n{size}\n".encode() + b"".join(packed(bits, 1))
    yield "bits.pbm", OddPicture(data, shown(1 - bits, 1))
    for depth in (4, 8, 16):
        white, bytes_each = 2**depth - 1, max(8, depth)
        for kind, suffix, channels in (("P5", "pgm", 1), ("P6", "ppm", 3)):
            made = values(depth, channels)
            data = f"{kind} {size} {white}\n".encode() + b"".join(packed(made, bytes_each))
            yield f"white is {white}.{suffix}", OddPicture(data, shown(made, white), 1)
    fractions = (values(8) / 255).astype("<f4")
    data = f"Pf\n{size}\n-1.0\n".encode() + fractions[::-1].tobytes()
    yield "fractions.pfm", OddPicture(data, shown(fractions, 1))


# As Pillow writes them


def lossless() -> Found:
    """Yield pictures of formats that keep every pixel."""
    made = shown(values(8, 3))
    alpha = values(8, 4).astype(np.uint8)
    see_through = on_white(alpha[..., :3], alpha[..., 3:])
    yield "rgb.webp", OddPicture(saved(made, "WEBP", lossless=True), made)
    data = saved(alpha, "WEBP", lossless=True, exact=True)
    yield "alpha.webp", OddPicture(data, see_through, 1)
    for name, options in (("boxed.jp2", {}), ("bare.j2k", {"no_jp2": True})):
        data = saved(made, "JPEG2000", irreversible=False, **options)
        yield name, OddPicture(data, made)
    gray = values(8)[..., 0].astype(np.uint8)
    yield "gray.jp2", OddPicture(saved(gray, "JPEG2000"), shown(values(8)))
    deep = Image.fromarray(values(16)[..., 0].astype(np.uint16))
    yield "gray 16.jp2", OddPicture(saved(deep, "JPEG2000"), shown(values(16), 65535), 1)
    yield "alpha.jp2", OddPicture(saved(alpha, "JPEG2000"), see_through, 1)
    largest = np.kron(smooth()[:32, :32], np.ones((2, 2, 1), np.uint8))
    icon = saved(largest, "ICO", sizes=[(16, 16), (64, 64), (32, 32)])
    yield "of three sizes.ico", OddPicture(icon, largest)
    icon = saved(largest, "ICO", sizes=[(64, 64)], bitmap_format="bmp")
    yield "of a bitmap.ico", OddPicture(icon, largest)


def lossy() -> Found:
    """Yield pictures of formats that keep what one sees."""
    made = smooth()
    luma = np.rint(made @ [0.299, 0.587, 0.114]).astype(np.uint8)
    for name, options in {
        "444.jpg": {"subsampling": 0},
        "422.jpg": {"subsampling": 1},
        "420.jpg": {"subsampling": 2},
        "progressive.jpg": {"progressive": True},
        "restarts.jpg": {"restart_marker_blocks": 1},
        "tables of its own.jpg": {"optimize": True},
    }.items():
        yield name, OddPicture(saved(made, "JPEG", quality=95, **options), made, 5)
    yield "gray.jpg", OddPicture(saved(luma, "JPEG", quality=95), shown(luma[..., None]), 4)
    inks = np.dstack([255 - made, np.full(luma.shape, 40, np.uint8)])
    data = saved(Image.frombytes("CMYK", (96, 64), inks.tobytes()), "JPEG", quality=95)
    yield "cmyk.jpg", OddPicture(data, printed(inks), 4)
    one = np.array([[[200, 100, 50]]], np.uint8)
    yield "one pixel.jpg", OddPicture(saved(one, "JPEG", quality=95), one, 4)
    yield "plain.webp", OddPicture(saved(made, "WEBP", quality=95), made, 8)
    for format_name, suffix in (("AVIF", "avif"), ("HEIF", "heic")):
        yield from _modern(format_name, suffix, luma)


def _modern(format_name: str, suffix: str, luma: Pixels) -> Found:
    made = smooth()
    data = saved(made, format_name, quality=95)
    yield f"colour.{suffix}", OddPicture(data, made, 5)
    yield (
        f"gray.{suffix}",
        OddPicture(saved(luma, format_name, quality=95), shown(luma[..., None]), 5),
    )
    alpha = np.full((*luma.shape, 1), 128, np.uint8)
    data = saved(np.dstack([made, alpha]), format_name, quality=95)
    yield f"alpha.{suffix}", OddPicture(data, on_white(made, alpha), 5)


def deep_heics() -> Found:
    """Yield HEIC of 10 bits, gray and colour, whole or in tiles."""
    made = smooth()
    luma = np.rint(made @ [0.299, 0.587, 0.114]).astype(np.uint8)
    for name, mode, pixels in (("gray", "I;16L", luma), ("colour", "RGB;16", made)):
        wide = (pixels.astype("<u2") * 257).tobytes()
        file = io.BytesIO()
        pillow_heif.from_bytes(mode=mode, size=(96, 64), data=wide).save(file, quality=95)
        expected = shown(pixels.reshape(64, 96, -1))
        yield f"{name} of 10 bits.heic", OddPicture(file.getvalue(), expected, 5)
    large = np.kron(made, np.ones((2, 2, 1), np.uint8))
    yield "tiles.heic", OddPicture(saved(large, "HEIF", quality=95, tile_size=64), large, 6)


def of_several() -> Found:
    """Yield files of several pictures or frames: the first counts."""
    first, second = smooth(), smooth()[::-1, ::-1]
    others = [Image.fromarray(second)] * 2
    table = colours(16)
    flat = table[np.kron(np.arange(4)[:, None] * 4 + np.arange(4), np.ones((8, 8), int))]
    for name, options in {
        "disposed of.gif": {"disposal": 2},
        "kept.gif": {"disposal": 1},
        "taken back.gif": {"disposal": 3},
    }.items():
        more = [Image.fromarray(flat[::-1])] * 2
        data = saved(flat, "GIF", save_all=True, append_images=more, **options)
        yield name, OddPicture(data, flat)
    for format_name, name, within, options in (
        ("PNG", "moving.png", 0, {}),
        ("TIFF", "pages.tif", 0, {}),
        ("WEBP", "moving.webp", 0, {"lossless": True}),
        ("MPO", "pair.mpo", 5, {"quality": 95}),
        ("AVIF", "moving.avif", 6, {"quality": 95}),
    ):
        data = saved(first, format_name, save_all=True, append_images=others, **options)
        yield name, OddPicture(data, first, within)
    file = io.BytesIO()
    album = pillow_heif.from_pillow(Image.fromarray(first))
    album.add_from_pillow(others[0])
    album.save(file, quality=95, primary_index=0)
    yield "album.heic", OddPicture(file.getvalue(), first, 5)


def gifs() -> Found:
    """Yield GIF of few and many colours, interlaced and with a transparent one."""
    for count in (2, 16, 256):
        table, made = colours(count), values(count.bit_length() - 1)[..., 0].astype(np.uint8)
        image = Image.fromarray(made).convert("P")
        image.putpalette(table.tobytes())
        for interlaced in (0, 1):
            data = saved(image, "GIF", interlace=interlaced)
            name = f"{count} colours{', interlaced' * interlaced}.gif"
            yield name, OddPicture(data, table[made])
        hole = int(made[7, 7])
        data = saved(image, "GIF", transparency=hole)
        expected = np.where((made == hole)[..., None], 255, table[made]).astype(np.uint8)
        yield f"{count} colours, one transparent.gif", OddPicture(data, expected)


def with_more_behind() -> Found:
    """Yield whole pictures with something behind them, as senders and cameras leave it."""
    made = smooth()
    table = colours(4)
    flat = table[np.indices((8, 8)).sum(axis=0) % 4]
    for format_name, pixels, within in (
        ("JPEG", made, 8),
        ("PNG", made, 0),
        ("GIF", flat, 0),
        ("BMP", made, 0),
        ("TIFF", made, 0),
        ("PPM", made, 0),
        ("WEBP", made, 10),
        ("JPEG2000", made, 0),
        ("AVIF", made, 10),
        ("HEIF", made, 10),
    ):
        for what, more in (("zeros", bytes(500)), ("words", b"\r\n--boundary--\r\n" * 9)):
            data = saved(pixels, format_name) + more
            yield f"{format_name} with {what} behind", OddPicture(data, pixels, within)


def turned() -> Found:
    """Yield pictures whose orientation is said in ways beside EXIF's own."""
    made = shown(values(8, 3))
    for turn, undo in UPRIGHT.items():
        exif = Image.Exif()
        exif[0x0112] = turn
        packet = (
            '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf='
            '"http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description xmlns:tiff='
            f'"http://ns.adobe.com/tiff/1.0/" tiff:Orientation="{turn}"/></rdf:RDF></x:xmpmeta>'
        )
        said = PngImagePlugin.PngInfo()
        said.add_itxt("XML:com.adobe.xmp", packet)
        data = saved(made, "PNG", pnginfo=said)
        yield f"turned {turn} by XMP.png", OddPicture(data, undo(made))
        said = PngImagePlugin.PngInfo()
        raw = b"Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0")
        said.add_text("Raw profile type exif", f"\nexif\n{len(raw):8d}\n{raw.hex()}\n")
        data = saved(made, "PNG", pnginfo=said)
        yield f"turned {turn} as ImageMagick says it.png", OddPicture(data, undo(made))
        data = saved(smooth(), "MPO", exif=exif, quality=95)
        yield f"turned {turn}.mpo", OddPicture(data, undo(smooth()), 5)
        if turn >= 5:
            data = saved(made, "WEBP", lossless=True, exif=exif)
            yield f"turned {turn}.webp", OddPicture(data, undo(made))


# What is no picture, or a trap


def broken() -> Found:
    """Yield files that must be refused, by what is wrong with them."""
    whole = png(values(8, 3), 8, RGB)
    yield "empty.jpg", OddPicture(b"", fails="the file is empty")
    crc = whole.replace(b"IHDR", b"IHDX", 1)
    yield "no header.png", OddPicture(crc, fails="damaged PNG: broken PNG file")
    at = whole.index(b"IDAT") + 8
    spoiled = bytearray(whole)
    spoiled[at : at + 200] = bytes(200)
    yield "spoiled.png", OddPicture(bytes(spoiled), fails="undecodable PNG: its data is broken")
    unknown = chunk(b"zTXt", b"words\0\7" + zlib.compress(b"many"))
    data = png(values(8, 3), 8, RGB, unknown)
    yield "packed anew.png", OddPicture(data, fails="damaged PNG: Unknown compression method")
    swollen = chunk(b"zTXt", b"words\0\0" + zlib.compress(bytes(5 << 20)))
    data = png(values(8, 3), 8, RGB, swollen)
    yield "swollen words.png", OddPicture(data, fails="damaged PNG: Decompressed data too large")
    yield from _of_no_size()
    yield from _bombs(whole)
    yield from _cut_short(whole)
    yield from _unheard_of()


def _with_size(whole: bytes, width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, RGB, 0, 0, 0)
    return whole[:8] + chunk(b"IHDR", header) + whole[33:]


def _of_no_size() -> Found:
    nothing = b"GIF89a" + struct.pack("<HH", 0, 5) + b"\0\0\0"
    data = nothing + b"," + struct.pack("<HHHHB", 0, 0, 0, 5, 0) + b"\2\1\0\0;"
    yield "no width.gif", OddPicture(data, fails="damaged GIF: the header gives no size")
    code = bytearray(saved(smooth(), "JPEG2000", no_jp2=True))
    code[12:16] = bytes(4)  # the height, behind SOC, SIZ, its length, capabilities and the width
    yield "no height.j2k", OddPicture(bytes(code), fails="damaged JPEG2000")
    data = _with_size(png(values(8, 3), 8, RGB), 0, HEIGHT)
    yield "no width.png", OddPicture(data, fails="damaged PNG: the header gives no size")


def _bombs(whole: bytes) -> Found:
    wide = struct.pack("<HH", 65535, 65535)
    data = b"GIF89a" + wide + b"\0\0\0" + b"," + bytes(4) + wide + b"\0\2\1\0\0;"
    yield "bomb.gif", OddPicture(data, fails="too large: 4,295 megapixels, limit")
    bomb = _with_size(whole, 65535, 65535)
    yield "bomb.png", OddPicture(bomb, fails="too large: 4,295 megapixels, limit")
    entry = struct.pack("<BBBBHHII", 0, 0, 0, 0, 1, 32, len(bomb), 22)
    icon = struct.pack("<HHH", 0, 1, 1) + entry + bomb
    yield "bomb.ico", OddPicture(icon, fails="too large: 4,295 megapixels, limit")
    small = bmp(values(8, 3), 24)
    huge = small[:18] + struct.pack("<ii", 2**31 - 1, 2**31 - 1) + small[26:]
    yield "bomb.bmp", OddPicture(huge, fails="too large: 4,611,686")
    data = b"P6 60000 60000 255\n" + bytes(100)
    yield "bomb.ppm", OddPicture(data, fails="too large: 3,600 megapixels, limit")
    yield (
        "bomb.heic",
        OddPicture(resized_heic(12240, 16320), fails="too large: 199.8 megapixels, limit 100"),
    )


def resized_heic(width: int, height: int) -> bytes:
    """Return a HEIC that says it is larger than the picture in it."""
    data = saved(smooth(), "HEIF")
    was = b"ispe" + bytes(4) + struct.pack(">II", 96, 64)
    assert was in data
    return data.replace(was, b"ispe" + bytes(4) + struct.pack(">II", width, height))


def _cut_short(whole: bytes) -> Found:
    for name, data in {
        "cut.png": whole,
        "cut.jpg": saved(smooth(), "JPEG"),
        "cut progressive.jpg": saved(smooth(), "JPEG", progressive=True),
        "cut.bmp": bmp(values(8, 3), 24),
        "cut.webp": saved(smooth(), "WEBP"),
        "cut.heic": saved(smooth(), "HEIF"),
        "cut in tiles.heic": saved(noisy(), "HEIF", tile_size=128),
        "cut.tif": saved(smooth(), "TIFF"),
        "cut.gif": saved(Image.fromarray(smooth()).quantize(), "GIF"),
        "cut.pgm": b"P5 31 21 255\n" + bytes(651),
    }.items():
        part = data[: len(data) * 2 // 3]
        yield name, OddPicture(part, fails=f"truncated {_NAMES[name.rpartition('.')[2]]}: ")


_NAMES = {"png": "PNG", "jpg": "JPEG", "bmp": "BMP", "webp": "WEBP", "heic": "HEIF", "tif": "TIFF"}
_NAMES |= {"gif": "GIF", "pgm": "PPM"}


def noisy() -> Pixels:
    """Return a picture with so much in it that every part of its file is worth something."""
    return np.random.default_rng(0).integers(0, 256, (256, 256, 3)).astype(np.uint8)


def _unheard_of() -> Found:
    small = bmp(values(8, 3), 24)
    data = small[:28] + struct.pack("<H", 30000) + small[30:]
    yield "30000 bits.bmp", OddPicture(data, fails="unsupported kind of BMP: pixel depth (30000)")
    rows = packed(values(8, 3), 8)
    strange = tiff(rows, tags(2, 8, 3, sample_format=[6] * 3))
    yield "complex.tif", OddPicture(strange, fails="unsupported kind of TIFF: unknown pixel mode")
    good = tiff(rows, tags(2, 8, 3))
    unknown = struct.pack("<HHIHH", 259, 3, 1, 1, 0)
    assert unknown in good
    data = good.replace(unknown, struct.pack("<HHIHH", 259, 3, 1, 50001, 0))
    yield "packed as none.tif", OddPicture(data, fails="undecodable TIFF")
    far = good[:4] + struct.pack("<I", 0xFFFFFFF0) + good[8:]
    yield "far away.tif", OddPicture(far, fails="truncated TIFF")


def odd_pictures() -> dict[str, OddPicture]:
    """Return all odd pictures by name."""
    kinds = (pngs, tiffs, bmps, pnms, gifs, lossless, lossy, deep_heics)
    kinds += (of_several, with_more_behind, turned, broken)
    return {name: picture for kind in kinds for name, picture in kind()}
