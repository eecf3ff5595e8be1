"""From a network to an ONNX graph with its weights in a file beside it, or in one that is there.

Imports torch and onnx where needed.
"""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from clipsearch.errors import ModelError, one_line

if TYPE_CHECKING:
    import onnx
    import torch

OPSET = 20  # the first with Gelu; onnxruntime has known it since 1.17


def write_graph(
    tower: torch.nn.Module,
    example: torch.Tensor,
    path: Path,
    what: str,
    *,
    input_name: str,
    free: Mapping[int, str],
) -> None:
    """Write a tower's graph without any weights, whose names are those of its state.

    It has one input, of which the axes in `free` may have any length, and one output, "features".
    Raises ModelError if it can't be exported.
    """
    import torch

    try:
        with _plain_tracing(), torch.no_grad():
            torch.onnx.export(
                tower,
                (example,),
                str(path),
                input_names=[input_name],
                output_names=["features"],
                dynamic_axes={input_name: dict(free), "features": {0: free[0]}},
                opset_version=OPSET,
                export_params=False,  # it would hold three copies of them
                do_constant_folding=False,
                dynamo=False,  # 4 s where the newer exporter takes 18 for the same graph
            )
    except (RuntimeError, TypeError, ValueError, torch.onnx.errors.OnnxExporterError) as error:
        raise ModelError(f"the {what} can't be exported: {one_line(error)}") from error


def lay_weights_beside(path: Path, tower: torch.nn.Module, weights_name: str) -> None:
    """Give a graph without weights those of the tower, in a file that is written from them."""
    import onnx

    weights = tower.state_dict()
    model = onnx.load(path)
    with path.with_name(weights_name).open("wb") as file:
        for value in [value for value in model.graph.input if value.name in weights]:
            array = weights[value.name].detach().contiguous().numpy()
            kind = value.type.tensor_type.elem_type
            place = (weights_name, file.tell(), array.nbytes)
            model.graph.initializer.append(_elsewhere(value.name, array.shape, kind, place))
            file.write(memoryview(array.reshape(-1)).cast("B"))
            model.graph.input.remove(value)
    path.write_bytes(model.SerializeToString())


def share_weights(path: Path, weights: Path, names: Mapping[str, str]) -> None:
    """Give a graph without weights those in a safetensors file beside it, where they lie.

    `names` says what a weight of the graph is called there. What is kept in half precision becomes
    float32 when the graph is opened.
    """
    import onnx

    kinds = {"F16": onnx.TensorProto.FLOAT16, "F32": onnx.TensorProto.FLOAT}
    with weights.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        start = file.tell()
    model = onnx.load(path)
    casts = []
    for value in [value for value in model.graph.input if value.name in names]:
        if (said := header.get(names[value.name])) is None:
            continue  # a buffer, which is no weight
        first, end = said["data_offsets"]
        place = (weights.name, start + first, end - first)
        stored = f"{value.name}/stored"
        kind = kinds[said["dtype"]]
        model.graph.initializer.append(_elsewhere(stored, said["shape"], kind, place))
        to = onnx.TensorProto.FLOAT
        casts.append(onnx.helper.make_node("Cast", [stored], [value.name], to=to))
        model.graph.input.remove(value)
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])
    path.write_bytes(model.SerializeToString())


def lay_values_within(path: Path, values: Mapping[str, torch.Tensor]) -> None:
    """Give a graph the values of the inputs that still lack one, but for the first; small ones."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    for value in list(model.graph.input)[1:]:
        array = values[value.name].detach().contiguous().numpy()
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, value.name))
        model.graph.input.remove(value)
    path.write_bytes(model.SerializeToString())


def _elsewhere(
    name: str, shape: Sequence[int], kind: int, place: tuple[str, int, int]
) -> onnx.TensorProto:
    """Return a tensor whose values lie in a file: its name, the offset and the length in bytes."""
    import onnx

    tensor = onnx.TensorProto(
        name=name, dims=shape, data_type=kind, data_location=onnx.TensorProto.EXTERNAL
    )
    for key, value in zip(("location", "offset", "length"), place, strict=True):
        tensor.external_data.add(key=key, value=str(value))
    return tensor


@contextmanager
def _plain_tracing() -> Iterator[None]:
    """Trace attention step by step, not as torch's fused kernel; hold the exporter's advice."""
    import torch

    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
        torch.backends.mha.set_fastpath_enabled(fused)


def put_in_place(aside: Path, folder: Path) -> None:
    """Move a new folder to its name; an old one steps aside first and is then removed."""
    old = folder.with_name(f"{aside.name}.old")
    if folder.exists():
        folder.replace(old)
    aside.replace(folder)
    shutil.rmtree(old, ignore_errors=True)
