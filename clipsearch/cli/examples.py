"""Three examples of each command, as `--help` and docs/commands.md show them; tests run them."""

from __future__ import annotations

from typing import NamedTuple


class Example(NamedTuple):
    """A command line, and what it does."""

    line: str  # without `clipsearch`
    does: str


# By the command's name, as it is written after `clipsearch`.
EXAMPLES: dict[str, tuple[Example, ...]] = {
    "index": (
        Example("index ~/Pictures", "add a folder, with all below it"),
        Example("index", "look again at every folder that the library knows"),
        Example("index --exclude raw/ --exclude '*.png'", "leave these out from now on"),
    ),
    "watch": (
        Example("watch", "follow every folder that the library knows"),
        Example("watch ~/Pictures", "add a folder and follow it"),
        Example("watch /mnt/nas --poll", "where the file system sends no events"),
    ),
    "query": (
        Example('query "a dog on a beach"', "find photos by what they show"),
        Example("query beach.jpg --top 3", "find the three photos most like a picture"),
        Example("query sunset -0 | xargs -0 cp -t out", "copy what is found"),
    ),
    "similar": (
        Example("similar beach.jpg", "find photos like this one, without itself"),
        Example("similar beach.jpg --min-score 0.9", "only those that are nearly the same"),
        Example("similar - < beach.jpg", "read the picture from standard input"),
    ),
    "list": (
        Example("list", "the newest photos"),
        Example("list --in ~/Pictures --type jpg --sort path", "what passes some filters"),
        Example("list -k 1000 --missing date --paths", "those that say no date"),
    ),
    "duplicates": (
        Example("duplicates", "what is there twice, and which of them to keep"),
        Example("duplicates --in ~/Pictures --only same", "below one folder, nothing else"),
        Example("duplicates --script ~/twice > move.sh", "a script that moves the others"),
    ),
    "classify": (
        Example("classify beach.jpg --labels 'a beach,a street'", "which it shows"),
        Example("classify beach.jpg --labels labels.txt", "labels from a file, one a line"),
        Example("classify beach.jpg --labels dog,cat --json", "the same for programs"),
    ),
    "tag": (
        Example("tag", "tag all photos with plain words, and new ones later"),
        Example("tag --list", "the tags that photos have, with how many"),
        Example("tag --words words.txt", "with words of your own instead"),
    ),
    "teach": (
        Example('teach "Rex" rex.jpg', "a tag of your own, by photos that show it"),
        Example('teach "Rex" --not beach.jpg', "this one does not: it never has the tag"),
        Example('teach "Rex"', "the likely ones, to be confirmed or refused"),
    ),
    "serve": (
        Example("serve --web --open", "see the photos in the browser"),
        Example("serve --background", "answer query and similar at once"),
        Example("serve --stop", "end the one that runs"),
    ),
    "mcp": (
        Example("mcp", "answer an agent on the standard streams"),
        Example("mcp --in ~/Pictures/shared", "the agent sees this folder alone"),
        Example("mcp --http", "stay, and answer agents on this machine by HTTP"),
    ),
    "info": (
        Example("info", "show the library"),
        Example("info --failures", "list the files that could not be read, and why"),
        Example("info --json", "the same for programs"),
    ),
    "models": (
        Example("models", "list the models that have a name"),
        Example("models --json", "the same for programs"),
        Example("models pull base", "fetch one ahead of use"),
    ),
    "models exported": (
        Example("models exported", "what lies in your cache, and how much it is"),
        Example("models exported --json", "the same for programs"),
        Example("models exported --remove", "free the space; only time is lost"),
    ),
    "models pull": (
        Example("models pull base", "fetch a model that has a name"),
        Example("models pull ViT-B-16/openai", "any architecture and tag of open_clip"),
        Example("models pull hf-hub:timm/ViT-B-16-SigLIP", "a repository of the hub"),
    ),
    "train": (
        Example("train --data captions.csv --dry-run", "say what a run would take"),
        Example("train --data captions.csv --out my-run", "fine-tune the built-in model"),
        Example("train --resume --out my-run", "go on after an interruption"),
    ),
    "eval": (
        Example("eval retrieval --data captions.csv", "photos by their captions"),
        Example("eval zeroshot --data animals", "one folder a class"),
        Example("eval compare builtin my-run --data val.tar", "which model is better"),
    ),
    "eval retrieval": (
        Example("eval retrieval --data captions.csv", "measure the built-in model"),
        Example("eval retrieval --model my-run --data val.tar", "measure another one"),
        Example("eval retrieval --data val.tar --json out.json", "keep the result"),
    ),
    "eval zeroshot": (
        Example("eval zeroshot --data animals", "a folder with one folder a class"),
        Example("eval zeroshot --data photos --classes imagenet", "among 1,000 names"),
        Example("eval zeroshot --data animals --shifts", "blurred, noisy, grey too"),
    ),
    "eval linear-probe": (
        Example("eval linear-probe --data animals", "learn from four fifths of each class"),
        Example("eval linear-probe --data val --train train", "from another folder"),
        Example("eval linear-probe --data animals --model my-run", "of another model"),
    ),
    "eval few-shot": (
        Example("eval few-shot --data animals", "1, 2, 4, 8 and 16 photos a class"),
        Example("eval few-shot --data animals --plot shots.png", "draw the curve"),
        Example("eval few-shot --data val --train train", "learn from another folder"),
    ),
    "eval fine-tune": (
        Example("eval fine-tune --data animals", "teach the whole image tower"),
        Example("eval fine-tune --data animals --epochs 1", "a shorter run"),
        Example("eval fine-tune --data val --train train", "learn from another folder"),
    ),
    "eval compare": (
        Example("eval compare builtin my-run --data val.tar", "two models"),
        Example("eval compare before.json after.json", "two results kept with --json"),
        Example("eval compare a.json b.json --plot change.png", "draw the difference"),
    ),
    "remove": (
        Example("remove ~/Pictures/blurred.jpg", "take out a photo; its file stays"),
        Example("remove ~/Pictures/old --forget", "until the next index finds it again"),
        Example("remove ~/Pictures/landscape --json", "a folder; how many, for programs"),
    ),
    "check": (
        Example("check", "verify the library"),
        Example("check --files --hashes", "compare with the photos' files, too"),
        Example("check --repair", "mend what can be mended"),
    ),
    "backup": (
        Example("backup library.tar", "copy the library into a file"),
        Example("backup library.tar --force", "replace an older one"),
        Example("backup library.tar --library ~/albums", "of another library"),
    ),
    "restore": (
        Example("restore library.tar", "make the library from a backup"),
        Example("restore library.tar --library ~/again", "into another folder"),
        Example("restore library.tar --json", "say what was restored, for programs"),
    ),
}
