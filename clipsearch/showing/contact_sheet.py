"""Photos found as one page that needs nothing else: no script, no other file, no network."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import NamedTuple

from clipsearch.errors import InvalidInput
from clipsearch.harmless import printable

# What a page begins with that was made here, and that another may therefore take the place of.
_OWN = b'<!doctype html>\n<meta charset="utf-8"><meta name="generator" content="clipsearch">\n'

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem; background: Canvas; color: CanvasText; }
h1 { font-size: 1.3rem; margin: 0; overflow-wrap: anywhere; }
p { margin: .2rem 0 1.5rem; opacity: .7; }
main { display: grid; gap: 1.2rem; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); }
figure { margin: 0; padding: .6rem; border: 1px solid color-mix(in srgb, CanvasText 15%, Canvas);
  border-radius: .5rem; }
figure a { color: inherit; text-decoration: none; }
figure a:hover b { text-decoration: underline; }
.picture { display: flex; height: 13rem; align-items: center; justify-content: center; }
.picture img { max-width: 100%; max-height: 100%; border-radius: .3rem; }
figcaption { margin-top: .5rem; overflow-wrap: anywhere; }
small { display: block; opacity: .75; }
.bar { display: inline-block; width: 5rem; height: .5rem; border-radius: .25rem;
  background: color-mix(in srgb, CanvasText 15%, Canvas); vertical-align: middle; }
.bar i { display: block; height: 100%; border-radius: inherit; background: #2e9e5b; }
.likely .bar i { background: #c78f00; }
.weak .bar i { background: #888; }
"""
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


class Card(NamedTuple):
    """What a page shows of a photo."""

    rank: int
    name: str
    address: str  # of the file, file:///…
    lines: tuple[str, ...]  # what else there is to say of it
    relevance: float | None  # 0 to 1
    strength: str | None  # the relevance in a word
    picture: str | None  # an address with the picture in it (data:); None where there is none


def page(title: str, remark: str, cards: Sequence[Card]) -> str:
    """Return a page in HTML; whatever names, titles and places hold, it is shown as text."""
    head = (
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n"
        f"<h1>{_text(title)}</h1>\n<p>{_text(remark)}</p>\n"
    )
    figures = "\n".join(map(_figure, cards))
    return f"{_OWN.decode()}{head}<main>\n{figures}\n</main>\n"


def _figure(card: Card) -> str:
    picture = f'<img src="{escape(card.picture)}" alt="">' if card.picture else "no picture"
    lines = "".join(f"<small>{_text(line)}</small>" for line in card.lines)
    link = f'<a href="{escape(card.address)}">'
    return (
        f'<figure class="{_text(card.strength or "")}">{link}'
        f'<div class="picture">{picture}</div></a><figcaption>{card.rank}. '
        f"{link}<b><bdi>{_text(card.name)}</bdi></b></a>{_bar(card)}{lines}"
        "</figcaption></figure>"
    )


def _bar(card: Card) -> str:
    if card.relevance is None:
        return ""
    width = round(100 * card.relevance)
    bar = f'<span class="bar"><i style="width: {width}%"></i></span>'
    return f"<small>{bar} {_text(card.strength or '')}</small>"


def fragment(cards: Iterable[Card], below: Sequence[str]) -> str:
    """Return photos as they stand in a notebook, which has a style of its own; then some lines."""
    figures = "".join(map(_notebook_figure, cards))
    lines = "".join(f"<div>{_text(line)}</div>" for line in below)
    return f'<div style="display:flex;flex-wrap:wrap;gap:12px">{figures}</div>{lines}'


def _notebook_figure(card: Card) -> str:
    size = "max-width:160px;max-height:160px"
    picture = f'<img src="{escape(card.picture)}" style="{size}" alt="">' if card.picture else "–"
    said = [line for line in (card.strength, *card.lines) if line]
    lines = "".join(f'<div style="opacity:.7">{_text(line)}</div>' for line in said)
    return (
        '<figure style="margin:0;width:160px;font-size:12px;overflow-wrap:anywhere">'
        f'<div style="height:160px;display:flex;align-items:end">{picture}</div>'
        f'<figcaption title="{_text(card.address)}">{card.rank}. '
        f"<bdi>{_text(card.name)}</bdi>{lines}</figcaption></figure>"
    )


def _text(text: str) -> str:
    return escape(printable(text))


def write_page(file: Path, text: str) -> None:
    """Write a page, whole or not at all, in place of an older one.

    Raises InvalidInput where it can't be written, and where a file lies there that is no such page:
    that may be somebody's.
    """
    try:
        if file.exists() and not _is_own(file):
            raise InvalidInput(
                f"{file} is there and is no page of clipsearch's: it is left as it is"
            )
        _replace(file, text.encode())
    except OSError as error:
        raise InvalidInput(f"can't write {file}: {error.strerror or error}") from error


def _is_own(file: Path) -> bool:
    with file.open("rb") as stream:
        return file.is_file() and stream.read(len(_OWN)) == _OWN


def _replace(file: Path, data: bytes) -> None:
    aside = file.with_name(f".clipsearch-{secrets.token_hex(8)}.html")
    try:
        with aside.open("xb") as stream:
            stream.write(data)
        aside.replace(file)
    except BaseException:
        with suppress(OSError):
            aside.unlink()
        raise
