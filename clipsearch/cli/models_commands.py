"""`clipsearch models` and `clipsearch models pull`: the models that --model takes."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli import completing
from clipsearch.cli.ending import say
from clipsearch.cli.help_pages import Command
from clipsearch.cli.options import JsonOption, VerboseOption

if TYPE_CHECKING:
    from clipsearch.models.names import NamedModel

_RECALL = "COCO R@1"  # what all recalls that are published are of

models_app = typer.Typer(rich_markup_mode=None)


@models_app.callback(invoke_without_command=True)
def models(ctx: typer.Context, json: JsonOption = False, verbose: VerboseOption = False) -> None:
    """List the models that --model takes.

    With their size, embedding width, licence, published recall and whether they are on this
    machine. Beside these names --model takes any open_clip ARCHITECTURE/tag,
    hf-hub:ORGANISATION/REPOSITORY, and the path of a folder with open_clip_config.json and weights.
    """
    if ctx.invoked_subcommand is not None:
        return
    from clipsearch.cli.output import json_line, write_out, write_rows
    from clipsearch.models.names import named_models

    named = named_models()
    if json:
        write_out(b"".join(json_line(_fields(model)) for model in named))
    elif sys.stdout.isatty():
        from clipsearch.cli.tables import show_table

        headings = ["", "model", "size", _RECALL, "licence", "what it is"]
        show_table(f"{_mark()} on this machine", headings, map(_row, named))
        _show_what_was_exported()
    else:
        write_rows(_fields(model).values() for model in named)


@models_app.command(cls=Command, short_help="Fetch a model ahead of use.")
def pull(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            autocompletion=completing.models,
            show_default=False,
            help="A model, named as for --model.",
        ),
    ],
    verbose: VerboseOption = False,
) -> None:
    """Fetch a model's weights ahead of use; write the path of the weights."""
    from clipsearch import consent
    from clipsearch.cli.output import write_text
    from clipsearch.cli.printable import printable
    from clipsearch.models.loading import pull as fetch
    from clipsearch.models.names import resolve_model

    consent.ask = None  # it was asked for
    write_text(printable(str(fetch(resolve_model(name)))))


@models_app.command(cls=Command, short_help="Show or remove exported towers.")
def exported(
    remove: Annotated[
        bool, typer.Option("--remove", show_default=False, help="Remove them all.")
    ] = False,
    json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Show the towers that were exported of models, for quick starts without torch.

    They lie in your cache, and are made again where a model is next loaded with torch: removing
    them costs time and nothing else.
    """
    from clipsearch.cli.output import json_line, write_out, write_rows, write_text
    from clipsearch.cli.printable import size_in_words
    from clipsearch.index.paths import to_text
    from clipsearch.models.tower_cache import cached_towers, empty

    if remove:
        write_text(f"{size_in_words(empty())} freed")
        return
    held = cached_towers()
    if json:
        write_out(
            b"".join(
                json_line({"model": one.model, "bytes": one.bytes, "path": to_text(one.folder)})
                for one in held
            )
        )
    else:
        write_rows((one.model, size_in_words(one.bytes), to_text(one.folder)) for one in held)
        if not held:
            say("nothing has been exported: builtin needs nothing, others are when first loaded")


def _show_what_was_exported() -> None:
    from clipsearch.cli.output import write_text
    from clipsearch.cli.printable import shown_count, size_in_words
    from clipsearch.models.tower_cache import cached_towers

    if held := cached_towers():
        size = size_in_words(sum(one.bytes for one in held))
        models = shown_count(len(held), "model")
        write_text(f"\nexported for quick starts: {models}, {size} (clipsearch models exported)")


def _fields(model: "NamedModel") -> dict[str, object]:
    return {
        "name": model.name,
        "on_machine": model.on_machine,
        "megabytes": model.megabytes,
        "width": model.width,
        "licence": model.licence,
        "published_recall": model.published_recall,
        "open_clip_name": model.open_clip_name,
        "note": model.note,
    }


def _row(model: "NamedModel") -> tuple[str, ...]:
    """Return what people want to know of a model."""
    here = _mark() if model.on_machine else ""
    recall = model.published_recall.removeprefix(_RECALL).strip()
    return here, model.name, f"{model.megabytes} MB", recall, model.licence, model.note


def _mark() -> str:
    mark = "\N{CHECK MARK}"
    try:
        mark.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return "*"
    return mark
