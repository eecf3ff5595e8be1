"""What is wrong with a command line, in one line of ours, with what may have been meant."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from clipsearch.cli.examples import EXAMPLES
from clipsearch.cli.given_values import in_words
from clipsearch.cli.parameters import argument_name, arguments, option_names, options
from clipsearch.near_names import did_you_mean, near_name
from clipsearch.searching.asked import is_a_file

# What people call a command who come from other programs; by the group that it is in.
_COMMANDS = {
    "": {
        "query": "search find ask text grep look",
        "similar": "like reverse image lookalike nearest",
        "index": "add update sync scan import embed build reindex refresh",
        "list": "ls dir browse photos filter all",
        "info": "status show stats stat library about config",
        "remove": "rm delete del forget unindex drop exclude ignore",
        "watch": "follow monitor daemon",
        "serve": "server start run web ui",
        "serve --stop": "stop kill shutdown quit exit",
        "check": "verify fsck doctor repair validate fix",
        "backup": "export save dump",
        "restore": "recover load",
        "models": "model list-models",
        "models pull": "pull download fetch get install",
        "train": "finetune fine-tune learn fit",
        "eval": "evaluate measure benchmark bench test",
        "eval compare": "compare diff",
        "--version": "version ver",
        "--install-completion": "completion completions autocomplete",
    },
    "models": {"": "list ls show", "pull": "download fetch get install add"},
    "eval": {
        "zeroshot": "zero-shot classify classification",
        "linear-probe": "probe linear",
        "few-shot": "fewshot",
        "fine-tune": "finetune",
        "compare": "diff versus vs",
    },
}
# What they call an option.
_OPTIONS = {
    "--top": "--limit -n --n --count --number --max --max-results --num -m --results --topk "
    "--top-k -K --first --head",
    "--min-score": "--threshold -t --min --cutoff --cut-off --score --similarity --min-similarity",
    "--library": "--db --database --lib -l --dir --folder --data-dir --path --home -C",
    "--model": "-m --weights --arch",
    "--device": "--gpu --cpu --cuda -d",
    "--json": "-j --format -f --as-json --output-json --jsonl",
    "--paths": "--files --names-only --name-only --path-only --files-with-matches --filenames -p",
    "--print0": "-z --null --zero",
    "--verbose": "-v --debug --trace --log",
    "--version": "-v",
    "--help": "-? --usage -help --man",
    "--include-hidden": "--hidden -a --all --dotfiles",
    "--include-away": "--away --all -a --missing",
    "--retry-failed": "--retry --again",
    "--force": "--overwrite --replace -f -y",
    "--yes": "-y --assume-yes --no-input --force",
    "--prune": "--delete --clean --purge",
    "--repair": "--fix --mend",
    "--hashes": "--hash --checksum --checksums --deep",
    "--idle": "--timeout",
    "--rescan": "--interval --every",
    "--learning-rate": "--lr",
    "--batch-size": "--batch --bs",
    "--epochs": "--epoch -e",
    "--out": "-o --output --output-dir --save",
    "--data": "--dataset --train-data -d --input -i",
    "--validation": "--val --val-data",
    "--resamples": "--bootstrap",
    "--plot": "--png --figure --chart",
    "--fields": "--columns --cols --select --format",
    "--exclude": "--ignore --skip --exclude-dir",
}


def _by_word(meant: dict[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, words in meant.items():
        for word in words.split():
            found.setdefault(word, []).append(name)
    return found


def in_our_words(ctx: Any, error: Any, given: Sequence[str]) -> str:
    """Return what Typer's parser found wrong with what was given, as one line."""
    kind = type(error).__name__
    if kind == "NoSuchOption":
        return _no_such_option(ctx, error.option_name, given)
    if kind == "MissingParameter" and error.param is not None:
        return _missing(ctx, error.param)
    if kind == "BadOptionUsage" and (option := _option(ctx, error.option_name)) is not None:
        taken = "takes no value" if option.is_flag else f"needs a value: {option_names(option)}"
        return f"{error.option_name} {taken}"
    said = " ".join(str(error.format_message()).split()).rstrip(".")
    return said[:1].lower() + said[1:]


def no_such_command(ctx: Any, args: Sequence[str]) -> str:
    """Return that there is no such command, with the one that may be meant."""
    word, *others = (one for one in args if one != "--help")  # of `clipsearch help`
    names = [name for name in ctx.command.list_commands(ctx) if _shown(ctx, name)]
    path = ctx.command_path
    if ctx.parent is None:
        meant = f"`{path} {_meant(word, others, names)}`"
        return f"there is no command {word}{did_you_mean(meant)} (`{path} --help` lists all)"
    near = _near(word, _name(ctx), names)
    hint = did_you_mean(f"`{path} {near}`".replace(" `", "`")) if near is not None else ""
    return f"there is no `{path} {word}`{hint or f'; choose {in_words(names)}'}"


def too_many(ctx: Any, left: Sequence[str]) -> str:
    """Return that a command was given more than it takes."""
    name = _name(ctx)
    takes = " and ".join(map(argument_name, arguments(ctx.command, ctx))) or "no argument"
    if (option := f"--{left[0]}") in _all_options(ctx.command, ctx):
        return f"{name} takes {takes}{did_you_mean(f'`{ctx.command_path} {option}`')}"
    return f"{name} takes {takes}: what is {left[0]} for? (`{_help(ctx)}`)"


def _meant(word: str, others: Sequence[str], names: Sequence[str]) -> str:
    """Return the command line that may be meant by a word that is no command."""
    near = None if re.search(r"\s", word) else _near(word, "", names)
    if near is not None:
        return near if near.startswith("-") else f"{near} {_quoted(others)}".strip()
    if is_a_file(word):
        return f"similar {_quoted([word])}"
    try:
        if Path(word).is_dir():
            return f"index {_quoted([word])}"
    except OSError:  # too long a name
        pass
    words = [one for one in (word, *others) if not one.startswith("-")]
    return f"query {_quoted([' '.join(words)])}"


def _near(word: str, group: str, names: Sequence[str]) -> str | None:
    """Return the command of a group that may be meant by a word, without the group's name."""
    if group == "models":
        from clipsearch.models.names import named_models

        if word in [model.name for model in named_models()]:
            return f"pull {word}"
    synonyms = _by_word(_COMMANDS[group])
    near = near_name(word, [*names, *synonyms])
    return synonyms[near][0] if near in synonyms else near


def _quoted(words: Iterable[str]) -> str:
    return " ".join(
        word if re.fullmatch(r"[\w@%+=:,./~-]+", word) else f'"{word}"' for word in words
    )


def _no_such_option(ctx: Any, option: str, given: Sequence[str]) -> str:
    path, known = ctx.command_path, _all_options(ctx.command, ctx)
    synonyms = _by_word(_OPTIONS).get(option, [])
    if ctx.parent is None and (command := _command_with(ctx, option)):
        return f"{option} stands after the command: `{path} {command} … {option}`"
    word = next((one for one in given if one.startswith(option)), option)
    if _name(ctx) == "query" and not option.startswith("--") and len(word) > len(option):
        return (
            f"query has no option {option}: for what the photo should not show, put all of the "
            f'question in quotes (`{path} "a beach {word}"`)'
        )
    near = next((name for name in synonyms if name in known), None)
    if near is None and option.startswith("--"):
        near = near_name(option[2:], [name[2:] for name in known if name.startswith("--")])
        near = near and f"--{near}"
    hint = did_you_mean(near) or f" (`{_help(ctx)}` lists all)"
    return f"{_name(ctx)} has no option {option}{hint}"


def _command_with(ctx: Any, option: str) -> str | None:
    """Return a command that knows an option which was written before it."""
    for name in ctx.command.list_commands(ctx):
        if option in _all_options(ctx.command.get_command(ctx, name), ctx):
            return str(name)
    return None


def _missing(ctx: Any, parameter: Any) -> str:
    argument = parameter.param_type_name == "argument"
    needed = argument_name(parameter) if argument else option_names(parameter)
    examples = EXAMPLES.get(_name(ctx))
    program = ctx.command_path.partition(" ")[0]
    shown = f": for example `{program} {examples[0].line}`" if examples else ""
    return f"{_name(ctx)} needs {needed}{shown}"


def _option(ctx: Any, name: str) -> Any:
    return next((one for one in options(ctx.command, ctx) if name in one.opts), None)


def _all_options(command: Any, ctx: Any) -> list[str]:
    return [name for one in options(command, ctx) for name in one.opts]


def _shown(ctx: Any, name: str) -> bool:
    command = ctx.command.get_command(ctx, name)
    return command is not None and not command.hidden


def _name(ctx: Any) -> str:
    """Return a command's name as it is typed after the program's; the program's for itself."""
    program, _, name = ctx.command_path.partition(" ")
    return str(name or program)


def _help(ctx: Any) -> str:
    return f"{ctx.command_path} --help"
