"""What a library offers beside searching: labels, tags, and tags of one's own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from clipsearch.arguments import as_list, shown, yes_or_no
from clipsearch.errors import InvalidInput, LibraryError, LibraryNotFound
from clipsearch.searching.asked import given_picture
from clipsearch.searching.query import Picture, read_picture

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import numpy as np
    from numpy.typing import NDArray

    from clipsearch.index.interface import SearchableStore
    from clipsearch.index.records import ModelRow
    from clipsearch.index.tags import Example, Tag
    from clipsearch.models.loaded import LoadedModels
    from clipsearch.results import Hits
    from clipsearch.searching.searcher import Searcher
    from clipsearch.tagging.classifying import Classified
    from clipsearch.tagging.tagger import Tagger


class TagMethods:
    """The part of `Library` that speaks of labels and tags."""

    folder: Path

    if TYPE_CHECKING:
        _models: LoadedModels

        @property
        def _store(self) -> SearchableStore: ...
        @property
        def _searcher(self) -> Searcher: ...
        def _writing(self) -> AbstractContextManager[None]: ...

    def classify(
        self,
        pictures: str | Picture | Iterable[str | Picture],
        labels: str | Iterable[str],
    ) -> list[Classified]:
        """Return how probable each label is for pictures, if each shows one of them.

        Takes several pictures, or one, as `similar` does, in the library or anywhere; one that
        can't be read has an `error` in place of probabilities. These are the softmax of the
        library's model, with the scale that it learned; a label stands in the 80 prompts of CLIP's
        authors. So they add up to 1 even if no label fits: add one that is left over, such as
        "something else". Raises InvalidInput unless there are two labels, ModelError for the model.
        """
        from clipsearch.tagging.classifying import classify, label_vectors, labels_given
        from clipsearch.tagging.tagger import scale_of

        wanted = labels_given(as_list(labels))
        model = self._current_model()
        given = as_list(pictures)
        named = [(_called(one, number), one) for number, one in enumerate(given, 1)]
        return classify(
            named,
            wanted,
            texts=label_vectors(self._models.text_encoder_of(model), wanted),
            scale=scale_of(self._models, model),
            encode=self._encoded,
        )

    def tag(
        self, words: Sequence[str] | str | Path | None = None, *, off: bool = False
    ) -> list[Tag]:
        """Tag all photos with words, from now on: `index` tags new ones. Returns the tags.

        A photo gets the words that the library's model holds for the most probable among all of
        them, and what these are kinds of: "dog" and "animal" for a poodle. Filters find them
        (`tag="dog"`), and hits have them.

        Args:
            words: the words, or a path of a file with one a line (`poodle < dog < animal` for
                kinds); None for those in use, or if there are none, the 1,818 that ship.
            off: tag photos with words no more, and forget these; what was taught stays.

        Raises:
            InvalidInput: there are no words, or they are none.
            ModelError: the library's model can't be used for this.
        """
        from clipsearch.words.lists import WordList, read_words, shipped_list, words_of

        off = yes_or_no(off, "off")
        if off and words is not None:
            raise InvalidInput("tagging is to be off: then there are no words")
        if isinstance(words, (str, Path)):
            chosen = read_words(Path(words).expanduser())
        elif words is not None:
            chosen = words_of("\n".join(map(_as_word, as_list(words))), "words")
        else:
            chosen = WordList((), {}) if off else shipped_list()
        with self._writing():
            tagger = self._tagger()
            in_use = any(row.kind == "word" for row in tagger.tables.rows())
            if words is not None or off or not in_use:
                tagger.use_words(chosen)
            tagger.refresh(self._current_model())
        return self.tags()

    def tags(self) -> list[Tag]:
        """Return the tags of this library, those of most photos first."""
        return self._tagger().tables.all()

    def teach(
        self,
        name: str,
        pictures: str | Picture | Iterable[str | Picture] = (),
        *,
        others: str | Picture | Iterable[str | Picture] = (),
    ) -> Tag:
        """Teach a tag by pictures that show it, and by others that don't; three show it well.

        All photos that are like them get the tag as likely, new ones at the next `index`. Said
        again of photos that have it as likely, the same confirms or refuses them, and makes it
        better: a photo that was refused never has the tag, one that was confirmed always. Pictures
        may lie anywhere, and are known by their content: a photo that moves keeps what was said of
        it. It tells pets, things and places; people's faces are not recognised.

        Raises InvalidInput for what is no name or no picture, and if no picture shows it.
        """
        said = [
            *self._examples(pictures, is_one=True),
            *self._examples(others, is_one=False),
        ]
        hashes = [one.content_hash for one in said]
        if not said:
            raise InvalidInput("name a picture that shows it")
        if len(set(hashes)) < len({(one.content_hash, one.is_one) for one in said}):
            raise InvalidInput("a picture can't both show it and not")
        with self._writing():
            tagger = self._tagger()
            tagger.say(_as_word(name), said, self._current_model())
            tagger.refresh(self._current_model())
        return self._tag_called(name)

    def likely(self, name: str) -> Hits:
        """Return the photos that a tag was found likely for, and nobody named; surest first.

        Their score is how likely it is, 0.5 to 1. `teach` confirms or refuses them. Raises
        InvalidInput if there is no tag of this name that was taught.
        """
        from clipsearch.results import Hit, Hits

        tag = self._taught(name)
        likely = self._tagger().tables.likely(tag.id)
        photos = self._store.photos([photo_id for photo_id, _ in likely])
        hits = (
            Hit.from_record(rank, score, photos[photo_id])
            for rank, (photo_id, score) in enumerate(likely, 1)
        )
        return Hits(replace(hit, why=()) for hit in hits)

    def forget_tag(self, name: str) -> Tag:
        """Forget a tag that was taught, and all that was said of it; return what it was.

        Raises InvalidInput if there is none of this name.
        """
        found = self._taught(name)
        with self._writing():
            self._tagger().tables.forget(found.id)
        return found

    def _taught(self, name: str) -> Tag:
        found = self._tag_called(name)
        if found.kind != "taught":
            raise InvalidInput(f"{found.name!r} was not taught: it is one of the words")
        return found

    def _tag_called(self, name: str) -> Tag:
        from clipsearch.index.filters import fold

        tags = self.tags()
        for tag in tags:
            if isinstance(name, str) and fold(tag.name) == fold(name):
                return tag
        from clipsearch.near_names import did_you_mean, near_name

        taught = [tag.name for tag in tags if tag.kind == "taught"]
        near = did_you_mean(near_name(str(name), taught))
        raise InvalidInput(f"there is no tag {shown(name)}{near}")

    def _examples(
        self, pictures: str | Picture | Iterable[str | Picture], *, is_one: bool
    ) -> list[Example]:
        from clipsearch.index.tags import Example

        found = []
        for number, picture in enumerate(as_list(pictures), 1):
            with _naming(_called(picture, number)):
                read = read_picture(_as_picture(picture))
                if read.content_hash is None:
                    raise InvalidInput("a picture that teaches comes as a file, or as its bytes")
                (vector,) = self._searcher.encode([read])
            found.append(Example(read.content_hash, is_one, vector))
        return found

    def _encoded(self, pictures: Sequence[object]) -> NDArray[np.float32]:
        return self._searcher.encode([_as_picture(one) for one in pictures])

    def _current_model(self) -> ModelRow:
        model = next((row for row in self._store.models() if row.is_current), None)
        if model is None:
            raise LibraryNotFound(
                f"the library {self.folder} holds no photos yet: "
                "`clipsearch index FOLDER` adds some"
            )
        return model

    def _tagger(self) -> Tagger:
        from clipsearch.index.interface import TaggedStore
        from clipsearch.tagging.tagger import Tagger

        if not isinstance(self._store, TaggedStore):
            raise LibraryError(f"{self.folder}: photos of this library have no tags")
        return Tagger(self._store.tag_tables(), self._models)


def _as_picture(one: object) -> Picture:
    return given_picture(one) if isinstance(one, str) else one  # type: ignore[return-value]


def _called(picture: object, number: int) -> str:
    return str(picture) if isinstance(picture, (str, Path)) else f"picture {number}"


@contextmanager
def _naming(picture: str) -> Iterator[None]:
    """Say of which picture it is that something is wrong."""
    try:
        yield
    except InvalidInput as error:
        if picture in str(error):
            raise
        raise InvalidInput(f"{picture}: {error}") from error


def _as_word(word: object) -> str:
    """Return a word or name; InvalidInput for what is none."""
    if not isinstance(word, str) or not word.strip() or not word.isprintable() or "\n" in word:
        raise InvalidInput(f"{shown(word)} is no word")
    if len(word) > 100:
        raise InvalidInput(f"{shown(word)} is too long for a word")
    return " ".join(word.split())
