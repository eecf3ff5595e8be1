"""What is meant by what a call in Python gives: one string, picture or sum of them."""

from __future__ import annotations

from clipsearch.arguments import yes_or_no
from clipsearch.errors import InvalidInput
from clipsearch.searching.asked import understand_a_call
from clipsearch.searching.combining import QuerySum
from clipsearch.searching.query import Query


def meant_by(query: Query, *, text: bool, image: bool) -> Query:
    """Return what a query is by the one rule for strings; raises InvalidInput."""
    if isinstance(query, QuerySum):
        return query.each(lambda one: meant_by(one, text=text, image=image))
    text, image = yes_or_no(text, "text"), yes_or_no(image, "image")
    if text and image:
        raise InvalidInput("a query is text or an image: not both can be True")
    if not isinstance(query, str) or not query.strip():  # which is refused where texts are
        return query
    return understand_a_call(query, text=text, image=image)
