"""The light install: all but training, measuring and the first use of another model, in 0.4 GB.

    python -m pip install $(python -m clipsearch.light)
    python -m pip install --no-deps .

The first line installs what pyproject.toml lists, without torch and what only goes with it.
"""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec
from pathlib import Path

from clipsearch.errors import MissingPackages

# Of what a full install has: torch, what needs it, and a FAISS that brings CUDA along.
LEFT_OUT = ("torch", "open_clip_torch", "onnx", "faiss-gpu")
_IMPORTED_AS = {"open_clip_torch": "open_clip"}


def torch_is_here() -> bool:
    """Say whether what embeds photos with torch is installed; imports nothing."""
    return not _missing()


def need_torch(what: str) -> None:
    """Raise MissingPackages unless torch and what goes with it are installed.

    `what` needs them, the error says, and how they are installed.
    """
    if missing := _missing():
        raise MissingPackages(
            f"{what} needs {', '.join(missing)}, which a light install leaves out: "
            f"python -m pip install {' '.join(missing)}"
        )


def _missing() -> list[str]:
    packages = (name for name in LEFT_OUT if not name.startswith("faiss"))
    return [name for name in packages if find_spec(_IMPORTED_AS.get(name, name)) is None]


def light_requirements() -> list[str]:
    """Return what a light install installs, for pip: from a checkout, or from what is installed."""
    kept = [line for line in _all_requirements() if re.split("[<>=!~]", line)[0] not in LEFT_OUT]
    return list(dict.fromkeys(kept))


def _all_requirements() -> list[str]:
    """Return what a full install takes on any machine, without the conditions."""
    project = Path(__file__).parent.parent / "pyproject.toml"
    if project.is_file():
        import tomllib

        lines = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
    else:
        from importlib.metadata import requires

        lines = [line for line in requires("clipsearch") or [] if "extra ==" not in line]
    return [line.partition(";")[0].strip() for line in lines]


if __name__ == "__main__":
    sys.stdout.write("".join(f"{line}\n" for line in light_requirements()))
