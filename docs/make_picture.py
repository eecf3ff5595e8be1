"""Make results.jpg: what some searches among the example photos find, for the README.

python docs/make_picture.py

The file's comment says which photos it shows; a test compares them with what is found.
"""

import json
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from clipsearch import Library
from clipsearch.results import Hits

ROOT = Path(__file__).parent.parent
PHOTOS = ROOT / "examples" / "photos"
PICTURE = ROOT / "docs" / "results.jpg"
SEARCHES = ("musicians on a stage", "snow on mountains", Path("tabby-cat-face.jpg"))
SHOWN = 3  # photos a search
SIZE = (256, 170)  # pixels of a thumbnail
GAP, LINE = 8, 30


def main() -> None:
    """Write the picture."""
    with tempfile.TemporaryDirectory() as folder, Library(Path(folder) / "library") as library:
        library.index(PHOTOS, model="builtin")
        rows = {shown(search): find(library, search) for search in SEARCHES}
    width = GAP + SHOWN * (SIZE[0] + GAP)
    sheet = Image.new("RGB", (width, GAP + len(rows) * (LINE + SIZE[1] + GAP)), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=19)
    for number, (what, hits) in enumerate(rows.items()):
        top = GAP + number * (LINE + SIZE[1] + GAP)
        draw.text((GAP, top), f"$ clipsearch {what}", "black", font)
        for column, hit in enumerate(hits):
            with Image.open(hit.path) as photo:
                thumbnail = ImageOps.fit(photo.convert("RGB"), SIZE)
            sheet.paste(thumbnail, (GAP + column * (SIZE[0] + GAP), top + LINE))
    found = {what: [hit.path.name for hit in hits] for what, hits in rows.items()}
    sheet.save(PICTURE, quality=80, comment=json.dumps(found).encode())


def find(library: Library, search: str | Path) -> Hits:
    """Return what is found by words, or by a picture among the animals."""
    if isinstance(search, Path):
        return library.similar(PHOTOS / "animals" / search, k=SHOWN, relevant=True, fold=True)
    return library.query(search, k=SHOWN, relevant=True, fold=True)


def shown(search: str | Path) -> str:
    """Return a search as it is typed."""
    return f"similar {search}" if isinstance(search, Path) else f'query "{search}"'


if __name__ == "__main__":
    main()
