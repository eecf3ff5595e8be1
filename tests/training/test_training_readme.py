"""What training/README.md says lies where, lies there."""

from __future__ import annotations

import re
from pathlib import Path

from places import ROOT

TRAINING = ROOT / "training"
README = (TRAINING / "README.md").read_text(encoding="utf-8")


def listed() -> list[str]:
    """Return the modules of the list, by their paths below training/."""
    (block,) = re.findall(r"## Where things are.*?```\n(.*?)```", README, flags=re.DOTALL)
    found, folder = [], ""
    for line in block.splitlines():
        name = line.split()[0]
        if name.endswith("/"):
            folder = name
        else:
            found.append(folder + name if line.startswith(" ") else name)
    return found


def test_its_list_has_every_module_once() -> None:
    there = [path.relative_to(TRAINING).as_posix() for path in TRAINING.rglob("*.py")]
    assert sorted(listed()) == sorted(name for name in there if not Path(name).stem.startswith("_"))


def test_its_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", README)
    assert len(links) > 20
    assert [link for link in links if not (TRAINING / link).exists()] == []
