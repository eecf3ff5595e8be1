"""`clipsearch eval`: measure models on captioned or labelled photos, and compare them."""

import typer

from clipsearch.cli.eval_classes import few_shot, fine_tune, linear_probe, zeroshot
from clipsearch.cli.eval_compare import compare
from clipsearch.cli.eval_retrieval import retrieval

eval_app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, add_completion=False)


@eval_app.callback()
def evaluate() -> None:
    """Measure models on captioned or labelled photos, and compare them.

    Photos are opened, scaled and encoded as by `clipsearch index`, so what is measured is what
    searches.
    """


eval_app.command()(retrieval)
eval_app.command()(zeroshot)
eval_app.command("linear-probe")(linear_probe)
eval_app.command("few-shot")(few_shot)
eval_app.command("fine-tune")(fine_tune)
eval_app.command()(compare)
