"""Which photos a search may find: a value that goes with the call."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

_LARGEST_TABLE = 1 << 28  # bytes; ids that are given in turn fit one by far


class Selection:
    """Some photos by their ids: only these, or all but these. It never changes.

    Whoever selects nearly all names what is left out, and so need not read the ids of all.
    """

    def __init__(self, photo_ids: NDArray[np.int64] | Sequence[int], *, all_but: bool) -> None:
        """Take the ids, in whatever order; `only_these` and `all_but_these` say it in words."""
        self.ids = rising(photo_ids)  # (n,)
        self.all_but = all_but

    @classmethod
    def only_these(cls, photo_ids: NDArray[np.int64] | Sequence[int]) -> Selection:
        """Return the selection of these photos, in whatever order."""
        return cls(photo_ids, all_but=False)

    @classmethod
    def all_but_these(cls, photo_ids: NDArray[np.int64] | Sequence[int]) -> Selection:
        """Return the selection of all photos except these, in whatever order."""
        return cls(photo_ids, all_but=True)

    def holds(self, photo_ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell of each of some photos (n,) whether it is selected."""
        last = int(self.ids[-1]) if len(self.ids) else -1
        if last >= _LARGEST_TABLE or (len(self.ids) and self.ids[0] < 0):
            return np.isin(photo_ids, self.ids, invert=self.all_but)
        return self._table.take(np.clip(photo_ids, -1, last + 1), mode="wrap")

    @cached_property
    def _table(self) -> NDArray[np.bool_]:
        """Whether each id up to the largest is selected; the last entry stands for all others."""
        size = int(self.ids[-1]) + 2 if len(self.ids) else 1
        table = np.full(size, self.all_but)
        table[self.ids] = not self.all_but
        return table


def rising(photo_ids: NDArray[np.int64] | Sequence[int]) -> NDArray[np.int64]:
    """Return the ids sorted, each once; np.unique would load masked arrays."""
    ids = np.array(photo_ids, dtype=np.int64)
    if not (ids[1:] > ids[:-1]).all():
        ids = np.sort(ids)
        ids = ids[np.append(np.diff(ids) > 0, True)]
    ids.setflags(write=False)
    return ids
