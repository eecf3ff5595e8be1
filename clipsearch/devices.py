"""Which device encodes photos, and in which precision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clipsearch.arguments import shown
from clipsearch.errors import InvalidInput

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda", "mps")


def check_device(name: str) -> str:
    """Return the name of a device; raises InvalidInput for one that there is nowhere."""
    if not isinstance(name, str) or name not in DEVICES:
        raise InvalidInput(f"no device is called {shown(name)}; choose {', '.join(DEVICES)}")
    return name


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of this name; auto takes the fastest. Raises InvalidInput."""
    import torch

    check_device(name)
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next((device for device, there in present.items() if there), "cpu")
    if not present.get(name, True):
        raise InvalidInput(f"this machine (or this build of torch) has no {name}; use --device cpu")
    return torch.device(name)


def image_precision(device: torch.device) -> torch.dtype:
    """Return the fastest type that keeps embeddings the same: bf16 or fp16 where in hardware."""
    import torch

    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if device.type == "cpu":
        return torch.bfloat16 if _cpu_has_bf16() else torch.float32
    return torch.float16


def multiplies_int8(device: torch.device) -> bool:
    """Say whether the device is a processor that multiplies int8 itself, far quicker than float32.

    Without such instructions the products of int8 may overflow, besides.
    """
    import torch

    one_dnn: Any = torch.backends.mkldnn
    able = device.type == "cpu" and _cpu_has("avx512_vnni", "avx_vnni")
    return able and bool(one_dnn.is_available())


def _cpu_has_bf16() -> bool:
    """Say whether the processor multiplies bf16 itself; emulated, it is slower than float32."""
    return _cpu_has("avx512_bf16", "amx_bf16")


def _cpu_has(*features: str) -> bool:
    import torch

    if not hasattr(torch.cpu, "get_capabilities"):  # an older torch
        return False
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(feature) for feature in features)
