"""What every part of the web door works with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from clipsearch.library import Library
    from clipsearch.results import Hits
    from clipsearch.serving.searcher import Question, WarmSearcher
    from clipsearch.serving.web.fetching import Fetcher
    from clipsearch.showing.picture_maker import PictureMaker

T = TypeVar("T")

ROUTE = ContextVar("ROUTE", default="look")  # of the request that is being answered, for the log


@dataclass(frozen=True)
class Served:
    """What is behind the door, asked without holding up those who wait beside."""

    searcher: WarmSearcher
    pictures: PictureMaker
    fetch: Fetcher | None = None  # of pictures from the web; None: none is fetched
    door: str = "web"  # in counts and log

    async def answer(self, question: Question) -> Hits:
        """Return the hits of a question; raises ClipsearchError as `Library` does."""
        return await asyncio.wrap_future(self.searcher.submit(question, door=self.door))

    async def look(self, at: Callable[[Library], T], *, pictures: bool = False) -> T:
        """Return what a function finds in the library as it is now; it may only read.

        With `pictures`, it is one that decodes and encodes some.
        """
        looking = self.searcher.look(at, pictures=pictures, door=self.door, command=ROUTE.get())
        return await asyncio.wrap_future(looking)
