"""ONNX Runtime as clipsearch uses it: a graph and its weights, opened or made ready once."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from clipsearch.errors import ModelError, UnfitMachine, one_line
from clipsearch.machine import cores
from clipsearch.models.files import regular_size
from clipsearch.privacy import onnx_runtime

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, SessionOptions  # noqa: TID251

MAX_THREADS = 8


def open_session(path: Path, what: str, *, optimize: bool, pack: bool) -> InferenceSession:
    """Open a graph; `what` it is, errors say.

    With `optimize` its operators are joined for this processor; with `pack` its matrices are laid
    out for it, which takes longer than a few runs save. Raises ModelError or UnfitMachine.
    """
    onnxruntime = onnx_runtime()
    regular_size(path)  # the runtime would wait for a pipe
    options = _options()
    options.intra_op_num_threads = min(cores(), MAX_THREADS)
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others work too
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimize else levels.ORT_DISABLE_ALL
    options.enable_mem_reuse = optimize  # the plan for it takes longer than a short text
    if not pack:
        options.add_session_config_entry("session.disable_prepacking", "1")
    try:
        # Resolved, since weights are not read through a link out of a graph's folder, and some
        # installers lay every file of a package as a link.
        real = str(path.resolve())
        return onnxruntime.InferenceSession(real, options, providers=["CPUExecutionProvider"])
    except runtime_errors() as error:
        if sys.platform == "linux" and not Path("/proc/self/fd").exists():  # it reads weights there
            raise UnfitMachine("ONNX Runtime can't work on this machine: it needs /proc") from error
        raise ModelError(f"the {what} {path} can't be opened: {one_line(error)}") from error


def make_ready(raw: Path, path: Path, what: str, weights_name: str) -> None:
    """Write a graph again with its constants folded, its weights apart, to be memory-mapped.

    Raises ModelError if it can't run, OSError where the disk is full.
    """
    import shutil  # which a query, for which graphs are opened, does not need

    onnxruntime = onnx_runtime()
    options = _options()
    # only standard operators, so that the file outlives this version of the runtime
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    entries = {"external_initializers_file_name": weights_name}
    entries["external_initializers_min_size_in_bytes"] = "1024"
    for key, value in entries.items():
        options.add_session_config_entry(f"session.optimized_model_{key}", value)
    # this session runs nothing, so it needs no copies of the weights in the layout to run them
    options.add_session_config_entry("session.disable_prepacking", "1")
    try:
        onnxruntime.InferenceSession(
            str(raw.resolve()), options, providers=["CPUExecutionProvider"]
        )
    except runtime_errors() as error:
        size = sum(file.stat().st_size for file in raw.parent.iterdir())
        if shutil.disk_usage(path.parent).free < size:  # the runtime does not say so itself
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise ModelError(f"the exported {what} can't run: {one_line(error)}") from error


def _options() -> SessionOptions:
    options = onnx_runtime().SessionOptions()
    options.log_severity_level = 3  # errors only: warnings would reach the user's terminal
    return options


def runtime_errors() -> tuple[type[Exception], ...]:
    """Return what ONNX Runtime raises; its own errors share no base but Exception."""
    state = onnx_runtime().capi.onnxruntime_pybind11_state
    names = (
        "EPFail",
        "EngineError",
        "Fail",
        "InvalidArgument",
        "InvalidGraph",
        "InvalidProtobuf",
        "NoModel",
        "NoSuchFile",
        "NotImplemented",
        "RuntimeException",
    )
    # The others come from the border to Python: a name in the graph that is no UTF-8, for one.
    own = tuple(getattr(state, name) for name in names)
    return (*own, UnicodeDecodeError, ValueError, RuntimeError, MemoryError)
