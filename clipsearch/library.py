"""The library of photos: index, query, similar, remove, info. The program is a client of this."""

from __future__ import annotations

import builtins
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Unpack, cast

import numpy as np
from numpy.typing import NDArray

from clipsearch.arguments import as_list, model_name, shown, texts_given, yes_or_no
from clipsearch.errors import InvalidInput
from clipsearch.index.layout import Layout
from clipsearch.library_looks import LookMethods
from clipsearch.library_tags import TagMethods
from clipsearch.models.loaded import LoadedModels
from clipsearch.open_library import OpenLibrary
from clipsearch.options import IndexOptions, IndexProgress, SearchKeywords, SearchOptions
from clipsearch.results import Hits, IndexReport
from clipsearch.searching.asked import given_picture
from clipsearch.searching.called import meant_by
from clipsearch.searching.combining import QuerySum, Term
from clipsearch.searching.query import Picture, Query
from clipsearch.searching.web_picture import is_address, is_web_address
from clipsearch.settings import absolute_paths, library_folder

if TYPE_CHECKING:
    from clipsearch.copies import Duplicates
    from clipsearch.index.facets import Facets
    from clipsearch.searching.inquiries import Inquiry


class Library(OpenLibrary, LookMethods, TagMethods):
    """A folder with a catalog of photos, their embeddings and what is needed to search them.

    Any thread may use it, and many at the same time: searches go on while one thread indexes. A
    second that wants to write gets LibraryLocked, or waits where it says so. `close` waits for
    nobody: what other threads have begun ends with its answer or LibraryClosed, as does everything
    that is asked later. It is of one process: LibraryClosed in a fork, and it can't be pickled.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        *,
        create: bool = True,
        read_only: bool = False,
        device: str = "auto",
    ) -> None:
        """Open a library, by default the user's own.

        One that is missing is made by the first `index`; until then nothing is, and whatever else
        is asked raises LibraryNotFound. So a name that was mistyped leaves no folder behind.

        Args:
            folder: where it lies; None for CLIPSEARCH_LIBRARY or the platform's user data folder.
            create: let `index` make it if it is missing (never when `read_only`).
            read_only: never write; safe beside a process that indexes.
            device: where photos are encoded: auto, cpu, cuda or mps.

        Raises:
            InvalidInput: no library can have this name, or there is no such device.
            LibraryError: it is missing, damaged, no library, or made by a newer clipsearch.
        """
        super().__init__(folder, create=create, read_only=read_only, device=device)

    @classmethod
    def open(
        cls,
        location: str | Path | None,
        *,
        token: str | None = None,
        read_only: bool = False,
        device: str = "auto",
    ) -> Library:
        """Open the library at a location: in a folder, or one that `clipsearch serve --web` serves.

        Of an address, `http://host:8000`, all that searches and looks works as it does where the
        library lies, with the server's model, for questions of up to 10,000 photos: every other
        method raises LibraryReadOnly, and `where` and `model` InvalidInput. `token` is what the
        server printed; `folder` is where the library lies there. Raises as the constructor does,
        LibraryError where no server answers, and InvalidInput for what can't be a library.
        """
        if isinstance(location, str) and is_web_address(location):
            return cls._at(location, token)
        if isinstance(location, str) and is_address(location):
            raise InvalidInput(f"{shown(location)}: a library is a folder, or at http://…")
        if token is not None:
            raise InvalidInput("a token is for a library at an address")
        return cls(location, create=False, read_only=read_only, device=device)

    @classmethod
    def for_indexing(
        cls,
        folder: str | Path | None,
        paths: Sequence[str | Path],
        *,
        model: str | None = None,
        device: str = "auto",
        progress: Callable[[IndexProgress], None] | None = None,
    ) -> Library:
        """Open a library to index paths into; a new one is made when all of them can be.

        So a run that is refused leaves nothing behind; `progress` is told of a model that has to
        be loaded to know that. Raises as the constructor and `index` do.
        """
        from clipsearch.indexing.indexer import check_new_library

        place = library_folder(folder)
        models = LoadedModels(Layout(place).models, device)
        if paths and not Layout(place).catalog.exists():
            check_new_library(
                place,
                models,
                absolute_paths(paths),
                model=model_name(model),
                progress=progress or _tell_nobody,
            )
        library = cls(place, create=bool(paths), device=device)
        library._use_models(models)
        if paths:
            library._for_writing(create=True)
        return library

    def close(self) -> None:
        """Close the catalog and let go of the models; a second time does nothing."""
        if os.getpid() != self._process:
            return  # in a fork: the threads of its models are not here, and would be waited for
        self._closed = True
        if self._remote is not None:
            self._remote.close()
        if self._parts is not None:
            self._parts[0].close()
        if self._indexer is not None:
            self._indexer.close()
        if self._parts is not None:
            self._parts[1].close()
        self._models.clear()

    def __enter__(self) -> Library:
        self._check_open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # indexing

    def index(
        self,
        paths: str | Path | Iterable[str | Path] | None = None,
        *,
        model: str | Path | None = None,
        options: IndexOptions | None = None,
        progress: Callable[[IndexProgress], None] | bool | None = None,
        stop: Callable[[], bool] | None = None,
        wait: bool = False,
    ) -> IndexReport:
        """Add folders and files, or bring them up to date; None updates every folder known.

        Takes several paths, or one; what is named is taken in though something leaves it out, and
        what was removed stays out else. A `model` other than the library's embeds every known photo
        again, beside the old embeddings; queries change over when that is complete. `stop` is
        asked between photos: once it is true, what was begun is saved and the report says that it
        was interrupted. With `wait`, another process or thread that is indexing is waited for.

        How far it is, `progress` is told; True shows it as a bar on a terminal or in a notebook
        (with ipywidgets), elsewhere as a line every ten seconds. By default it is shown in a
        notebook only; False shows nothing.

        Raises:
            InvalidInput: a path is not there, or is a file but no picture.
            ModelError: the model can't be loaded; what was indexed stays.
            LibraryLocked: another process or thread is indexing into this library.
        """
        from clipsearch.progress.showing import shown as shown_progress

        self._check_open()
        places = None if paths is None else absolute_paths(paths)
        chosen = model_name(model)
        with shown_progress(progress) as told:
            if self._parts is None:
                self._check_first_run(places, chosen, told)
            return self._for_writing(create=True).index(
                places,
                chosen,
                _index_options(options),
                told,
                stop or _never,
                wait=yes_or_no(wait, "wait"),
            )

    def _check_first_run(
        self,
        places: Sequence[Path] | None,
        model: str | Path | None,
        progress: Callable[[IndexProgress], None],
    ) -> None:
        """Raise what refuses the first run of a library, before it is made."""
        from clipsearch.indexing.indexer import check_new_library

        if not places or not self._create:
            self._open_parts()  # which says that there is none
            return
        check_new_library(self.folder, self._models, places, model=model, progress=progress)

    def update(
        self,
        paths: str | Path | Iterable[str | Path],
        *,
        options: IndexOptions | None = None,
        progress: Callable[[IndexProgress], None] | None = None,
        stop: Callable[[], bool] | None = None,
        wait: bool = True,
    ) -> IndexReport:
        """Bring single files and folders below the known folders up to date; others are ignored.

        Takes several paths, or one. One that is not there any more is forgotten, unless the folder
        it belongs to is away. The paths of one call are seen together, so a photo that moved
        between them keeps its embedding. The processes that decode photos stay for the next
        update, until `close`. Otherwise like `index`.
        """
        places = absolute_paths(paths)
        return self._for_writing().update(
            places,
            _index_options(options),
            progress or _tell_nobody,
            stop or _never,
            wait=yes_or_no(wait, "wait"),
        )

    def remove(self, paths: str | Path | Iterable[str | Path], *, forget: bool = False) -> int:
        """Take photos and folders out (the files stay); returns the number of photos forgotten.

        Takes several paths, or one. All are taken out, or none is, and stay out until `index`
        names them. With `forget` nothing more is remembered of them: the next run takes in again
        what it finds there.

        Raises:
            InvalidInput: nothing in the library has one of these paths.
        """
        self._check_open()
        places = absolute_paths(paths)
        return self._for_writing().remove(places, forget=yes_or_no(forget, "forget"))

    # searching

    def query(
        self,
        query: Query,
        options: SearchOptions | None = None,
        *,
        text: bool = False,
        image: bool = False,
        **keywords: Unpack[SearchKeywords],
    ) -> Hits:
        """Return the k photos nearest to a text or a picture, best first; all, if k is more.

        A picture is a `Path`, the bytes of a file, a Pillow image, a uint8 array (height, width,
        3), a photo that was found here (a `Hit` or `PhotoRecord`, though its file may be away), an
        embedding (float32 (width,), of unit length), or a `str` that names a file, as on the
        command line: one that is there, or one that is written like a path or a picture's name and,
        if it is not there, is refused. Every other `str` is words. With `text` every `str` is
        words, which is right for what others write and for captions; with `image` every `str` is
        the path or address of a picture. Without it no address is fetched from: it is refused.

        Several texts and pictures are one question when they are added, or taken away, with
        weights: `term("a beach") + 0.5 * term(Path("dunes.jpg")) - "people"`.

        How to search is said with keywords, or with SearchOptions.

        Keywords:
            k: how many photos at most.
            offset: how many to pass over first, for the next page.
            sort: "relevance", "date" (the newest first) or "path". Date and path order all that are
                relevant, with `relevant`; else the k best.
            relevant: leave out what matches too little to be an answer.
            fold: show one photo of several copies, or of a burst (`Hit.alike` has the others).
            only: "visual" or "words": find by what is seen, or by what is written, alone.
            min_score: the least cosine that counts as found.
            include_away: find photos too whose folder is not there now (see `away`).
            exact: look at all photos, also in a library so large that its index is approximate.
            model: another model that the library was indexed with.
            in_: only photos in a folder or below it; or in any folder of a name.
            after, before: only those taken from then on, and before: a date, or text such as
                "2023-07" or "last summer"; `after` takes a range, too: "2021..2022".
            camera, lens: only those with this in its name.
            near: only those taken near a place: (latitude, longitude), with the km as a third
                number (10 if not said), or text: "48.85,2.35", or a place's name, which needs the
                extra `places`.
            type: only those of a type, or of several: "jpg", "heic", "raw".
            min_width: only those at least so many pixels wide.
            orientation: only those that are "landscape", "portrait" or "square".
            tag: only those with this tag, or with all of several.
            missing: only those that don't say "date", "camera", "lens", "position", "place", "tag".
            filters: the same and more as a tree, of the values in `clipsearch.filters`.
            where: a condition in SQL that they must meet, too; for a library on this machine.

        Raises:
            InvalidInput: the query is empty or can't be read, or an option makes no sense.
            LibraryNotFound: the library holds no photos yet.
        """
        checked = SearchOptions.of(options, keywords)
        return self._searcher.query(meant_by(query, text=text, image=image), checked)

    def query_batch(
        self,
        queries: Query | Iterable[Query],
        options: SearchOptions | None = None,
        *,
        text: bool = False,
        image: bool = False,
        **keywords: Unpack[SearchKeywords],
    ) -> builtins.list[Hits]:
        """Return the hits of many queries: for each what `query` finds, in far less time.

        By what is seen alone, as `query` with `only="visual"`; relevance is told only where an
        option needs it. Takes several queries, or one, and what `query` takes, strings included.
        Texts find the same photos with the same scores as alone, to the last bit; of pictures that
        are not in the library, scores may differ in the last bits. 4,096 queries are encoded and
        searched for together, so that memory is bounded beside the answers. One query that can't be
        read refuses them all.
        """
        checked = SearchOptions.of(options, keywords)
        meant = [meant_by(query, text=text, image=image) for query in as_list(queries)]
        return self._searcher.query_batch(meant, checked)

    def answers(self, inquiries: Sequence[Inquiry]) -> Iterator[tuple[int, Hits | Exception]]:
        """Answer many questions together, each as `query` or `similar` does, to the last bit.

        Yields the place of each with its hits as soon as they are there, or with the error that it
        raises alone, in no order; every `str` is words. Takes what is in
        `clipsearch.searching.inquiries`; less time than one after the other.
        """
        self._check_open()
        return self._searcher.answers(inquiries)

    def similar(
        self,
        image: str | Picture | QuerySum | Iterable[str | Picture],
        options: SearchOptions | None = None,
        *,
        text: bool = False,
        **keywords: Unpack[SearchKeywords],
    ) -> Hits:
        """Return the k photos most like a picture, without the picture itself, wherever it lies.

        Of several pictures, those most like all of them. A `str` is a path or an address here; in a
        sum (see `term`), where words may be added and taken away, what it is for `query`: with
        `text`, words. The picture itself is known by its content, with its copies: one in memory,
        and an embedding, can't be left out. Takes the options of `query`.
        """
        checked = SearchOptions.of(options, keywords)
        if isinstance(image, QuerySum):
            meant = meant_by(image, text=text, image=False)
            return self._searcher.similar(cast("QuerySum", meant), checked)
        pictures: list[Picture] = [
            given_picture(one) if isinstance(one, str) else one for one in as_list(image)
        ]
        if not pictures:
            raise InvalidInput("no picture was given")
        same = QuerySum(tuple(Term(1.0, one) for one in pictures))
        return self._searcher.similar(same, checked)

    def search_vectors(
        self,
        queries: NDArray[np.float32],
        options: SearchOptions | None = None,
        **keywords: Unpack[SearchKeywords],
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Search unit vectors, float32 (n, width); return cosines (n, k) and photo ids (n, k).

        Takes the options of `query`. Rows with fewer than k photos end in -inf and -1. Each query
        finds what it finds alone, to the last bit; many at once take far less time.
        """
        return self._searcher.search_vectors(queries, SearchOptions.of(options, keywords))

    def encode_text(self, texts: str | Iterable[str]) -> NDArray[np.float32]:
        """Return the embeddings of texts by the library's model, float32 (n, width), unit length.

        Takes several texts, or one.
        """
        return self._searcher.encode(texts_given(texts))

    def encode_images(self, images: str | Picture | Iterable[str | Picture]) -> NDArray[np.float32]:
        """Return the embeddings of pictures by the library's model, float32 unit (n, width).

        Takes several pictures, or one. A `str` is a path or an address here, as of `similar`.
        """
        given = as_list(images)
        return self._searcher.encode(
            [given_picture(one) if isinstance(one, str) else one for one in given]
        )

    def prepare_for_pictures(self) -> bool:
        """Load what searches with pictures need, so that the first is as quick as the next.

        Where that would be torch, nothing is loaded before a picture comes: returns False.
        """
        return self._searcher.prepare_for_pictures()

    def list(
        self, options: SearchOptions | None = None, **keywords: Unpack[SearchKeywords]
    ) -> Hits:
        """Return the photos that pass the filters, without a question: k of them after `offset`.

        With `sort="date"`, or without a `sort`, the newest come first and those without a date
        last, with "path" they are in order of their paths. Their score is 0, and no model is
        loaded. Takes the options of `query`; those that speak of a question change nothing.
        """
        return self._searcher.listed(SearchOptions.of(options, keywords))

    def facets(
        self, options: SearchOptions | None = None, **keywords: Unpack[SearchKeywords]
    ) -> Facets:
        """Return what the photos that pass the filters say, counted: by month, camera, folder ….

        Takes the options of `query`; those that speak of a question change nothing. The first time
        it reads what all photos say; from then on that is kept in memory.
        """
        return self._searcher.facets(SearchOptions.of(options, keywords))

    def count(
        self, options: SearchOptions | None = None, **keywords: Unpack[SearchKeywords]
    ) -> int:
        """Return how many photos pass the filters; raw ones count though pictures stand for them.

        Takes the options of `query`; those that speak of a question change nothing.
        """
        return self._searcher.count(SearchOptions.of(options, keywords))

    def duplicates(
        self, options: SearchOptions | None = None, **keywords: Unpack[SearchKeywords]
    ) -> Duplicates:
        """Return the groups of the same photo, of bursts and of look-alikes; nothing is changed.

        Copies are known by their bytes; edits (compressed, scaled, cropped, turned, mirrored,
        lit otherwise, grey, with a border) by what they show. A raw photo and the picture beside it
        are one. Takes the options of `query` that say which photos, and which model; the others
        change nothing. 100,000 photos take about a minute.
        """
        return self._searcher.duplicates(SearchOptions.of(options, keywords))


def _index_options(options: object) -> IndexOptions:
    if options is None:
        return IndexOptions()
    if not isinstance(options, IndexOptions):
        raise InvalidInput(f"options must be IndexOptions, not {shown(options)}")
    return options


def _tell_nobody(_: IndexProgress) -> None:
    pass


def _never() -> bool:
    return False
