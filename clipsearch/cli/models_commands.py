"""`clipsearch models` and `clipsearch models pull`: the models that --model takes."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.help_pages import Command
from clipsearch.cli.options import JsonOption, VerboseOption

if TYPE_CHECKING:
    from clipsearch.models.names import NamedModel

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
    from clipsearch.cli.output import json_line, write_out, write_rows, write_text
    from clipsearch.models.names import named_models

    named = named_models()
    if json:
        write_out(b"".join(json_line(_fields(model)) for model in named))
    elif sys.stdout.isatty():
        write_text("\n".join(map(_in_words, named)))
    else:
        write_rows(_fields(model).values() for model in named)


@models_app.command(cls=Command, short_help="Fetch a model ahead of use.")
def pull(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", show_default=False, help="A model, named as for --model."),
    ],
    verbose: VerboseOption = False,
) -> None:
    """Fetch a model's weights ahead of use; write the path of the weights."""
    from clipsearch.cli.output import write_text
    from clipsearch.cli.printable import printable
    from clipsearch.models.loading import pull as fetch
    from clipsearch.models.names import resolve_model

    write_text(printable(str(fetch(resolve_model(name)))))


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


def _in_words(model: "NamedModel") -> str:
    """Return two lines for people."""
    where = "on this machine" if model.on_machine else "not on this machine"
    recall = model.published_recall or "no published recall"
    return (
        f"{model.name:<13} {model.megabytes:>5} MB, width {model.width}, {recall}, "
        f"{model.licence}, {where}\n{'':<13} {model.open_clip_name}: {model.note}"
    )
