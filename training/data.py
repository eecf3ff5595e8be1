"""Read training material: WebDataset shards of captioned photos, and lines of text."""

import gzip
import json
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sample:
    """One photo of a shard with its captions; `label` is its class where it has one."""

    key: str
    jpeg: bytes
    captions: tuple[str, ...]
    label: str | None


def shard_paths(folder: Path) -> list[Path]:
    """Return the shards of a folder in order; raise FileNotFoundError where there is none."""
    paths = sorted(folder.glob("*.tar"))
    if not paths:
        raise FileNotFoundError(f"no .tar shard in {folder}")
    return paths


def read_shards(paths: Iterable[Path]) -> Iterator[Sample]:
    """Yield the samples of several shards, one shard after the other."""
    for path in paths:
        yield from read_shard(path)


def read_shard(path: Path) -> Iterator[Sample]:
    """Yield the samples of one tar; raise ValueError for a photo without captions."""
    with tarfile.open(path) as tar:
        parts: dict[str, dict[str, bytes]] = {}
        for member in tar:
            key, _, extension = member.name.rpartition(".")
            content = tar.extractfile(member)
            if content is None:  # a folder or a link
                continue
            # The members of a sample are neighbours, so at most one sample is ever half read.
            sample = parts.setdefault(key, {})
            sample[extension] = content.read()
            if {"jpg", "json"} <= sample.keys():
                yield _sample(key, parts.pop(key))
        if parts:
            raise ValueError(f"{path}: photo or captions missing for {', '.join(sorted(parts))}")


def _sample(key: str, parts: dict[str, bytes]) -> Sample:
    facts = json.loads(parts["json"])
    if not facts.get("captions"):
        raise ValueError(f"sample {key} has no captions")
    return Sample(key, parts["jpg"], tuple(facts["captions"]), facts.get("label"))


def read_lines(path: Path) -> list[str]:
    """Return the lines of a UTF-8 text file that are not blank, unpacking `.gz`."""
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    # Not splitlines: a caption may hold a rarer line separator, which is no end of the line.
    return [line.strip() for line in content.decode("utf-8").split("\n") if line.strip()]
