"""Which photos of a catalog pass filters: by SQL for one question, by columns for many."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clipsearch.index.catalog import Catalog
from clipsearch.index.database import Database
from clipsearch.index.filters import EVERYTHING, And, Filter, Not, Or
from clipsearch.index.paths import to_text
from clipsearch.index.selection import Selection, rising

if TYPE_CHECKING:  # of use to a warm process only
    from clipsearch.index.facets import Facets
    from clipsearch.index.filter_columns import CatalogColumns
    from clipsearch.index.listing import Order

_ALL = 2**63 - 1  # photos
_MOST_KEPT = 16  # selections of one state: each takes up to 4 bytes a photo, and 1 for its table


class _Known:
    """What was found out in one committed state, for the next search."""

    def __init__(self, state: object) -> None:
        self.state = state
        self.below: dict[Path, NDArray[np.int64]] = {}  # ids of photos
        self.selections: dict[object, Selection | None] = {}
        self.columns: CatalogColumns | None = None
        self.orders: dict[str, NDArray[np.int64]] = {}  # ids of all photos
        self.facets: dict[Selection | None, Facets] = {}  # each selection is a key by itself


class Selector:
    """Selects photos in the state of the catalog that a block shows; any thread may ask it.

    The first filters that are asked for go by SQL, as those of a single query. Whoever asks again
    gets columns in memory: they take about a second for each field of a million photos to read,
    and a few milliseconds from then on.
    """

    def __init__(self, db: Database, catalog: Catalog) -> None:
        self._db = db
        self._catalog = catalog
        self._known = _Known(None)
        self._last_columns: CatalogColumns | None = None  # of whatever state
        self._filtered = 0  # how often filters were asked for
        self._listed = 0  # how often lists were

    def selection(
        self, filters: Filter, without: Sequence[Path], where: str | None = None
    ) -> Selection | None:
        """Return the photos that pass and lie neither at nor below some paths; None for all.

        With `where` only those for which that condition in SQL is true (see `where.ids_where`).
        """
        if where is not None:
            return self._where(where, self.selection(filters, without))
        if filters == EVERYTHING and not without:
            return None
        known = self._known_now()
        key = filters, tuple(without)
        with suppress(KeyError):
            return known.selections[key]
        selection = self._select(filters, without, known)
        if len(known.selections) >= _MOST_KEPT:
            known.selections = {}
        known.selections[key] = selection
        return selection

    def listed(
        self, selected: Selection | None, order: Order, offset: int, limit: int
    ) -> NDArray[np.int64]:
        """Return the ids (n,) of selected photos (None: all) by "date" or "path", a page of them.

        By SQL, as the one page of a program; whoever asks again gets it from the order of all, kept
        in memory.
        """
        from clipsearch.index.listing import in_order

        self._listed += 1
        if self._listed == 1:
            return in_order(self._db, selected, order, offset, limit)
        known = self._known_now()
        if order not in known.orders:
            known.orders[order] = in_order(self._db, None, order, 0, _ALL)
            known.orders[order].setflags(write=False)  # pages are parts of it
        ids = known.orders[order]
        ids = ids if selected is None else ids[selected.holds(ids)]
        return ids[offset : offset + limit]

    def facets(self, selected: Selection | None) -> Facets:
        """Return what the selected photos (None: all) say, counted by columns in memory."""
        known = self._known_now()
        if selected not in known.facets:
            from clipsearch.index.facet_counts import counted

            columns = self._columns_now(known)
            rows = None if selected is None else selected.holds(columns.ids)
            roots = [to_text(one.path) for one in self._catalog.folders() if one.kind == "folder"]
            if len(known.facets) >= _MOST_KEPT:
                known.facets = {}
            known.facets[selected] = counted(columns, rows, roots)
        return known.facets[selected]

    def _where(self, where: str, others: Selection | None) -> Selection:
        from clipsearch.index.where import ids_where

        ids = ids_where(self._db, where)
        return Selection.only_these(ids if others is None else ids[others.holds(ids)])

    def _select(self, filters: Filter, without: Sequence[Path], known: _Known) -> Selection | None:
        if filters == EVERYTHING:
            return Selection.all_but_these(self.ids_below(without))
        self._filtered += 1
        if self._filtered == 1:
            if (refused := _refused(filters)) is not None:
                out = self._ids_passing(refused), self.ids_below(without)
                return Selection.all_but_these(np.concatenate(out))
            ids = self._ids_passing(filters)
            if without:
                ids = ids[Selection.all_but_these(self.ids_below(without)).holds(ids)]
            return Selection.only_these(ids)
        from clipsearch.index.filter_arrays import passing

        columns = self._columns_now(known)
        rows = passing(filters, columns)
        if without:
            rows &= Selection.all_but_these(self.ids_below(without)).holds(columns.ids)
        count = int(np.count_nonzero(rows))
        if count == len(rows):
            return None
        if 2 * count <= len(rows):
            return Selection.only_these(columns.ids[rows])
        return Selection.all_but_these(columns.ids[~rows])

    def _ids_passing(self, filters: Filter) -> NDArray[np.int64]:
        from clipsearch.index.filter_sql import add_functions, condition

        sql, parameters = condition(filters, self._db.schema)
        with self._db.connected() as connection:
            add_functions(connection)
            select = f"SELECT group_concat(photos.id) FROM photos WHERE {sql}"
            (ids,) = connection.execute(select, parameters).fetchone()
        return np.fromstring(ids or "", dtype=np.int64, sep=",")

    def _columns_now(self, known: _Known) -> CatalogColumns:
        if known.columns is None:
            from clipsearch.index.filter_columns import CatalogColumns

            last = self._last_columns
            known.columns = last.followed() if last else CatalogColumns.read(self._db)
            self._last_columns = known.columns
        return known.columns

    def ids_below(self, paths: Sequence[Path]) -> NDArray[np.int64]:
        """Return the ids (n,), rising, of the photos at or below some paths."""
        known = self._known_now()
        for path in paths:
            if path not in known.below:
                known.below[path] = self._catalog.ids_below(path)
        return rising(np.concatenate([np.empty(0, np.int64), *(known.below[one] for one in paths)]))

    def _known_now(self) -> _Known:
        """Return what was found out before in the state that this thread reads."""
        known, state = self._known, self._db.state()
        if known.state != state:
            known = self._known = _Known(state)
        return known


def _refused(filters: Filter) -> Filter | None:
    """Return what must not pass, if that is all that filters say: few photos, as a rule."""
    match filters:
        case Not(part):
            return part
        case And(parts) if parts and all(isinstance(part, Not) for part in parts):
            return Or(tuple(part.part for part in parts if isinstance(part, Not)))
    return None
