"""An exported text tower with its large matrices in int8: half the time, half the file."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from clipsearch.models.text.encoder import WEIGHTS_NAME

if TYPE_CHECKING:
    import onnx

# Whole numbers from -64 to 64: with twice as many, processors without VNNI instructions overflow.
LARGEST = 64
PAGE = 4096  # weights that are mapped into memory begin with one


def matrix_values(path: Path) -> int:
    """Return how many values the matrices have that a tower multiplies by."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    values = {weights.name: math.prod(weights.dims) for weights in graph.initializer}
    return sum(values[node.input[1]] for node in _products(graph))


def write_in_int8(tower: Path, reduced: Path) -> None:
    """Write a tower again with its matrices in int8, beside a file of weights of its own.

    Each column of a matrix has a scale, and so have all the numbers of a run that are multiplied
    by it: run one text at a time where a vector must not depend on others. Matrix by matrix, so
    that memory holds none but the one at hand.
    """
    import onnx

    model = onnx.load(tower, load_external_data=False)
    graph = model.graph
    products = {node.input[1]: node for node in _products(graph)}
    weights = list(graph.initializer)
    del graph.initializer[:]
    with reduced.with_name(WEIGHTS_NAME).open("wb") as file:
        for tensor in weights:
            if tensor.name in products:
                whole, scale = _in_whole_numbers(_values(tensor, tower.parent))
                graph.initializer.append(_stored(f"{tensor.name}_int8", whole, file))
                graph.initializer.append(_stored(f"{tensor.name}_scale", scale, file))
            elif tensor.data_location == onnx.TensorProto.EXTERNAL:
                values = _values(tensor, tower.parent)
                graph.initializer.append(_stored(tensor.name, values, file))
            else:
                graph.initializer.append(tensor)
    nodes = [
        new
        for node in graph.node
        for new in (_int8_product(node) if node in products.values() else [node])
    ]
    del graph.node[:]
    graph.node.extend(nodes)
    reduced.write_bytes(model.SerializeToString())


def _products(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield the products with a matrix of weights that nothing else needs."""
    uses = Counter(name for node in graph.node for name in node.input)
    matrices = {
        weights.name
        for weights in graph.initializer
        if len(weights.dims) == 2 and uses[weights.name] == 1
    }
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in matrices:
            yield node


def _values(tensor: onnx.TensorProto, folder: Path) -> NDArray[Any]:
    from onnx import numpy_helper

    return numpy_helper.to_array(tensor, str(folder))


def _in_whole_numbers(
    matrix: NDArray[np.float32],
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return the matrix (in, out) in int8, and the scale (out) of each column."""
    top = np.maximum(np.abs(matrix).max(axis=0), np.finfo(np.float32).tiny)
    scale = (top / LARGEST).astype(np.float32)
    return np.rint(matrix / scale).astype(np.int8), scale


def _stored(name: str, values: NDArray[Any], file: BinaryIO) -> onnx.TensorProto:
    """Append values to the file of weights, and return the tensor that refers to them."""
    import onnx

    file.write(bytes(-file.tell() % PAGE))
    place = {"location": WEIGHTS_NAME, "offset": file.tell(), "length": values.nbytes}
    tensor = onnx.TensorProto(
        name=name,
        dims=values.shape,
        data_type=onnx.helper.np_dtype_to_tensor_dtype(values.dtype),
        data_location=onnx.TensorProto.EXTERNAL,
    )
    for key, number in place.items():
        tensor.external_data.add(key=key, value=str(number))
    file.write(np.ascontiguousarray(values).data)
    return tensor


def _int8_product(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Return the operators that multiply in int8 and give what this product gives, nearly."""
    from onnx import TensorProto
    from onnx.helper import make_node

    x, matrix = node.input
    (y,) = node.output
    return [
        make_node("DynamicQuantizeLinear", [x], [f"{y}_x", f"{y}_x_scale", f"{y}_x_zero"]),
        make_node("MatMulInteger", [f"{y}_x", f"{matrix}_int8", f"{y}_x_zero"], [f"{y}_whole"]),
        make_node("Cast", [f"{y}_whole"], [f"{y}_float"], to=TensorProto.FLOAT),
        make_node("Mul", [f"{y}_x_scale", f"{matrix}_scale"], [f"{y}_scale"]),
        make_node("Mul", [f"{y}_float", f"{y}_scale"], [y]),
    ]
