"""Which device encodes photos, and in which precisions it is fast."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from clipsearch.arguments import shown
from clipsearch.errors import InvalidInput, UnfitMachine
from clipsearch.light import torch_is_here
from clipsearch.settings import current_folder_is_gone

if TYPE_CHECKING:
    import torch

Precision: TypeAlias = Literal["float32", "bf16", "fp16", "int8"]

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
PRECISION_VARIABLE = "CLIPSEARCH_PRECISION"


def check_device(name: str) -> str:
    """Return the name of a device; raises InvalidInput for one that there is nowhere."""
    if not isinstance(name, str) or name not in DEVICES:
        raise InvalidInput(f"no device is called {shown(name)}; choose {', '.join(DEVICES)}")
    return name


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of this name; auto takes the fastest.

    Raises InvalidInput, or UnfitMachine where torch can't work at all.
    """
    _start_torch()
    import torch

    check_device(name)
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next((device for device, there in present.items() if there), "cpu")
    if not present.get(name, True):
        raise InvalidInput(f"this machine (or this build of torch) has no {name}; use --device cpu")
    return torch.device(name)


def _start_torch() -> None:
    """Let torch compute once, so that what keeps it from that is not taken for a bad model."""
    if current_folder_is_gone():  # MKL looks for its parts from there, and would end the process
        raise UnfitMachine("torch can't start in a folder that was deleted: go to another one")
    import torch

    numbers = torch.ones(64, 64)
    try:
        (numbers @ numbers).half().float()
    except RuntimeError as error:
        raise UnfitMachine(
            f"torch can't work on this machine: {error} (in a sandbox, it needs /proc and /sys)"
        ) from error


def wanted_precision() -> Precision | None:
    """Return the precision that CLIPSEARCH_PRECISION names; None for auto.

    Raises InvalidInput if it names none.
    """
    wanted = os.environ.get(PRECISION_VARIABLE) or "auto"
    if wanted == "auto":
        return None
    if wanted not in PRECISIONS:
        raise InvalidInput(
            f"{PRECISION_VARIABLE} is {wanted!r}; choose auto, {', '.join(PRECISIONS)}"
        )
    return wanted


def fast_precisions(device: torch.device) -> tuple[Precision, ...]:
    """Return the precisions below float32 to try on the device, the fastest first.

    These are the ones that it has instructions for; where CLIPSEARCH_PRECISION names one, that
    alone, emulated if need be. Raises InvalidInput if it names none.
    """
    wanted = wanted_precision()
    if wanted is None:
        return _in_hardware(device)
    return () if wanted == "float32" else (wanted,)


def torch_pays(photos: int, pays_from: int, device: str = "auto") -> bool:
    """Say whether torch is to embed so many photos where an exported tower could; imports nothing.

    It is where it is asked for, by a GPU's name or a precision below float32; and for at least
    `pays_from` photos, since starting it takes as long as they gain, where a GPU or a processor has
    a faster precision. In float32 the exported towers are as quick (`python -m
    benchmarks.cold_query` prints both). Raises InvalidInput as `wanted_precision` does.
    """
    wanted = wanted_precision()
    if device in ("cuda", "mps") or wanted in ("bf16", "fp16", "int8"):
        return True
    if photos < pays_from or not torch_is_here():
        return False
    if device == "auto" and _may_have_gpu():
        return True
    return wanted is None and _processor_may_be_fast()


def _may_have_gpu() -> bool:
    if sys.platform == "darwin":
        return True
    return any(Path(path).exists() for path in ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg"))


def _processor_may_be_fast() -> bool:
    """Say whether the processor has instructions for a precision; perhaps, where nothing tells."""
    flags = _processor_flags()
    faster = ("avx512_bf16", "amx_bf16", "avx512_vnni", "avx_vnni")
    return flags is None or any(flag in flags for flag in faster)


def _processor_flags() -> str | None:
    """Return what Linux says of the processor; None on other systems."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None


def _in_hardware(device: torch.device) -> tuple[Precision, ...]:
    import torch

    if device.type == "cuda":
        return ("bf16",) if torch.cuda.is_bf16_supported() else ("fp16",)
    if device.type != "cpu":
        return ("fp16",)
    one_dnn: Any = torch.backends.mkldnn
    if not one_dnn.is_available():
        return ()
    found: list[Precision] = []
    if _cpu_has("avx512_vnni", "avx_vnni"):  # without, products of int8 may overflow, besides
        found.append("int8")
    if _cpu_has("avx512_bf16", "amx_bf16"):
        found.append("bf16")
    return tuple(found)


def _cpu_has(*features: str) -> bool:
    import torch

    if not hasattr(torch.cpu, "get_capabilities"):  # an older torch
        return False
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(feature) for feature in features)
