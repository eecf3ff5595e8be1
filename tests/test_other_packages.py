"""What other packages keep private is used in few places, each with a way without it."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from places import ROOT

FOLDERS = ("clipsearch", "index", "training")
OURS = {"clipsearch"}
USED = {"torch.ops.mkldnn._convolution_pointwise"}  # without it: tests/models/test_faster_layers.py


def private_parts(module: ast.Module) -> Iterator[str]:
    """Yield the dotted names of private parts that a module takes from other packages."""
    origins: dict[str, str] = {}  # a name in the module -> where it comes from
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            for alias in node.names:
                whole = alias.name if alias.asname else alias.name.partition(".")[0]
                origins[alias.asname or whole] = whole
                yield from only_private(alias.name)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                origins[alias.asname or alias.name] = name
                yield from only_private(name)
    for node in ast.walk(module):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            path = dotted(node)
            if path and path[0] in origins:
                yield from only_private(".".join((origins[path[0]], *path[1:])))


def dotted(node: ast.expr) -> list[str]:
    """Return the parts of `a.b.c`; none of what is no such name."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute) and (before := dotted(node.value)):
        return [*before, node.attr]
    return []


def is_private(part: str) -> bool:
    return part.startswith("_") and not part.startswith("__")


def only_private(name: str) -> Iterator[str]:
    first, *parts = name.split(".")
    if first not in OURS and any(is_private(part) for part in parts):
        yield name


def test_private_parts_are_found_however_they_are_imported():
    written = """
import torch, watchfiles._rust_notify
import numpy as np
from torch import nn
from pathlib import _x
from clipsearch.index import _ours
def later(self):
    from torch import ops as o
    return o.mkldnn._a(self._b), np._c.d, nn.modules._E, nn.__name__, later(self)._f
"""
    assert set(private_parts(ast.parse(written))) == {
        "watchfiles._rust_notify",
        "pathlib._x",
        "torch.ops.mkldnn._a",
        "numpy._c",
        "torch.nn.modules._E",
    }


def test_no_other_private_part_is_used():
    found = set()
    for path in [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]:
        found |= set(private_parts(ast.parse(path.read_text())))
    assert found - {"os._exit"} == USED  # os._exit is documented
