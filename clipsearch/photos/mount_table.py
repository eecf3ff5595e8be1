"""What is mounted where: on Linux, from the kernel's own table; elsewhere nothing is known."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_TABLE = "/proc/self/mountinfo"
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class Mount:
    """A mounted file system."""

    number: int  # of this mounting: mounted again, it gets another
    device: int  # st_dev of the files on it
    kind: str  # ext4, nfs4, ...
    path: Path


def mount_table() -> list[Mount]:
    """Return what is mounted, in the order of the table; nothing where the system does not say."""
    try:
        with open(_TABLE, "rb") as table:  # noqa: PTH123
            lines = os.fsdecode(table.read()).splitlines()
    except OSError:
        return []
    return [_mount(line) for line in lines]


def mounts_below(roots: Sequence[Path]) -> Iterator[tuple[Path, Path, int]]:
    """Yield what is mounted below these folders: the folder, the path in it, the mount's number."""
    real = [(root, Path(os.path.realpath(root))) for root in roots]
    for mount in mount_table():
        for root, base in real:
            if base in mount.path.parents:
                yield root, root / mount.path.relative_to(base), mount.number


def _mount(line: str) -> Mount:
    # 36 35 98:0 /its/root /where/it/is rw,noatime [optional fields] - ext4 /dev/sda1 rw
    number, _, device, _, path, *_ = line.split(" ")
    major, minor = map(int, device.split(":"))
    kind = line.partition(" - ")[2].partition(" ")[0]
    plain = _OCTAL.sub(lambda match: chr(int(match.group(1), 8)), path)  # spaces are octal there
    return Mount(int(number), os.makedev(major, minor), kind, Path(plain))
