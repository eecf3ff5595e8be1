"""Look at a library's catalog in the browser, with Datasette (pip install datasette).

    python examples/catalog_in_datasette.py LIBRARY [PORT]

The catalog is plain SQLite, so any tool reads it, also while clipsearch writes. Beside the tables
there are ready questions: cameras, photos a month, files that could not be indexed.
"""

import sys
from pathlib import Path
from typing import Any

from datasette.app import Datasette

QUESTIONS = {
    "cameras": "SELECT camera, count(*) AS photos FROM photos GROUP BY camera ORDER BY photos DESC",
    "photos_a_month": "SELECT substr(taken_at, 1, 7) AS month, count(*) AS photos FROM photos "
    "GROUP BY month ORDER BY month",
    "failures": "SELECT path, reason, failed_at FROM failures ORDER BY failed_at DESC",
    "largest": "SELECT path, width, height, size FROM photos ORDER BY width * height DESC LIMIT 50",
}


def catalog_in_datasette(library: Path) -> Datasette:
    """Return Datasette on the catalog of a library, which it opens read-only."""
    catalog = library / "catalog.sqlite"
    if not catalog.is_file():
        raise FileNotFoundError(f"{library} is no library: it has no catalog.sqlite")
    questions: dict[str, Any] = {name: {"sql": sql} for name, sql in QUESTIONS.items()}
    return Datasette(
        files=[str(catalog)], metadata={"databases": {"catalog": {"queries": questions}}}
    )


def main() -> None:
    """Read the command line."""
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    import uvicorn

    port = int(sys.argv[2]) if len(sys.argv) == 3 else 8001
    application = catalog_in_datasette(Path(sys.argv[1])).app()
    uvicorn.run(application, host="127.0.0.1", port=port)


if __name__ == "__main__":
    main()
