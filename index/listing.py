"""The photos of a catalog in an order of their own, a page at a time."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from clipsearch.index.database import Database
from clipsearch.index.filter_sql import stored
from clipsearch.index.selection import Selection

Order = Literal["date", "path"]
_AT_ONCE = 10_000  # rows
_LARGEST = 2**63 - 1  # number of SQLite


def in_order(
    db: Database, selected: Selection | None, order: Order, offset: int, limit: int
) -> NDArray[np.int64]:
    """Return the ids (n,) of the selected photos: up to `limit` of them after the first `offset`.

    By date, the newest first and those without one last, or by path; what is alike in date, by
    path.
    """
    by_date = f"{stored('moment', db.schema)} DESC, " if order == "date" else ""  # NULL comes last
    sql = f"SELECT photos.id FROM photos ORDER BY {by_date}photos.path"
    if selected is None:
        rows = db.rows(f"{sql} LIMIT ? OFFSET ?", (min(limit, _LARGEST), min(offset, _LARGEST)))
        return np.array(rows, np.int64).reshape(-1)
    found: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    count, wanted = 0, offset + limit
    for rows in db.batches(sql, (), _AT_ONCE):
        ids = np.array(rows, np.int64).reshape(-1)
        found.append(ids[selected.holds(ids)])
        count += len(found[-1])
        if count >= wanted:
            break
    return np.concatenate(found)[offset:wanted]
