"""The commands of `clipsearch eval`, gathered."""

import typer

from clipsearch.cli.eval_classes import few_shot, fine_tune, linear_probe, zeroshot
from clipsearch.cli.eval_compare import compare
from clipsearch.cli.eval_retrieval import retrieval
from clipsearch.cli.help_pages import Command

eval_app = typer.Typer(rich_markup_mode=None)


def _add(command: object, name: str, summary: str) -> None:
    eval_app.command(name, cls=Command, short_help=summary)(command)  # type: ignore[type-var]


_add(retrieval, "retrieval", "Photos by captions, and captions by photos.")
_add(zeroshot, "zeroshot", "Classify by the class names alone.")
_add(linear_probe, "linear-probe", "Classify by a logistic regression.")
_add(few_shot, "few-shot", "How many photos beat the class names.")
_add(fine_tune, "fine-tune", "Teach the whole image tower classes.")
_add(compare, "compare", "Say which of two models is better.")
