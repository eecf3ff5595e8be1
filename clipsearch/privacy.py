"""Nothing is told to anybody: what others' code would collect is switched off before it starts.

docs/privacy.md says what was looked through, and what can't be undone.
"""

from __future__ import annotations

import os
from typing import Any

# Each is read once, when the package of that name is imported first, or a process begins.
_SWITCHES = {"ORT_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def switch_off() -> None:
    """Forbid ONNX Runtime and the hub's client to report; also in the processes begun from here."""
    os.environ.update(_SWITCHES)


def onnx_runtime() -> Any:
    """Return onnxruntime, which reports nothing: every other module gets it here.

    If the program that imports clipsearch had started it before, its own switch is thrown: that
    ends the collecting, but leaves what was written until then.
    """
    switch_off()
    import onnxruntime  # noqa: TID251

    onnxruntime.disable_telemetry_events()
    return onnxruntime


def hub() -> Any:
    """Return huggingface_hub, which tells the hub no more than which file is wanted."""
    switch_off()
    import huggingface_hub
    from huggingface_hub import constants

    constants.HF_HUB_DISABLE_TELEMETRY = True  # somebody may have imported it before
    return huggingface_hub


def load_matplotlib() -> None:
    """Import matplotlib, its list of fonts in our own cache; raises ImportError without it.

    It draws with a font of its own, so it need not ask the programs that list the system's fonts,
    which write lists of theirs elsewhere.
    """
    from clipsearch.settings import cache_folder

    ours = {"PATH": os.devnull}
    if (folder := cache_folder()) is not None:
        ours["MPLCONFIGDIR"] = str(folder / "matplotlib")
    former = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        import matplotlib.backends.backend_agg
        import matplotlib.figure  # noqa: F401
    finally:
        for name, value in former.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value
