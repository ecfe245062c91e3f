#!/usr/bin/env python3
"""What others read from a run's exports is what its checkpoint holds.

usage: tests/readers/matrices.py CHECKPOINT [--npz DIR] [--mtx DIR] [--safetensors FILE] [--onnx FILE]...
                                 [--inputs X.npy --logits Y.npy]

Ground truth are the counters and floats of CHECKPOINT, made dense here. SciPy reads npz and mtx, PyTorch the compressed
rows of safetensors, onnx's checker the graphs. With inputs (uint8) and logits (float32, by `tally eval`) the network is
run from each file as well: all predictions the same, logits within 1e-3. Every library is optional: "skipped: no scipy".
Exit status 1 on any mismatch.
"""
import argparse
import importlib
import json
import math
import os
import struct
import sys
import warnings

FAILED = []
TOLERANCE = 1e-3
TIES = int(os.environ.get("TIES", "0"))  # samples that may be apart, see tests/readers/run


def check(what, good, detail=""):
    print(f"{'ok' if good else 'FAILED'}: {what}{' (' + detail + ')' if detail else ''}")
    if not good:
        FAILED.append(what)


def library(name):
    """The module, or None and a line that says so."""
    try:
        return importlib.import_module(name)
    except ImportError:
        print(f"skipped: no {name.split('.')[0]}")
        return None


np = library("numpy")
if np is None:
    sys.exit(0)


# --- safetensors, read here by the format's own rules; the official reader is asked too where it is installed ------------

DTYPES = {"U8": "|u1", "I8": "|i1", "I16": "<i2", "I32": "<i4", "F32": "<f4", "F64": "<f8"}


def safetensors_read(path):
    """Arrays and metadata of a file."""
    with open(path, "rb") as file:
        data = file.read()
    length, = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    body = data[8 + length:]
    metadata = header.pop("__metadata__", {})
    arrays, end = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        first, last = entry["data_offsets"]
        if first != end:
            raise ValueError(f"{path}: {name} begins at {first}, wanted {end}")
        end = last
        arrays[name] = np.frombuffer(body[first:last], DTYPES[entry["dtype"]]).reshape(entry["shape"])
    if end != len(body):
        raise ValueError(f"{path}: {len(body)} bytes of data, the header has {end}")
    if not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError(f"{path}: metadata that is not text")
    return arrays, metadata


# --- the truth -----------------------------------------------------------------------------------------------------------

def number_map(kind, parameter, scale, counters):
    """Values of counters, in double, then float32: see src/number.h."""
    c = counters.astype("f8")
    a, sign = np.abs(c), np.sign(c)
    f = {"linear": lambda: a, "square": lambda: a * a, "power": lambda: a ** parameter,
         "exp": lambda: np.expm1(parameter * a), "pow2": lambda: 2.0 ** ((a - 1) / parameter),
         "madam": lambda: np.exp(-parameter * (a - 1))}[kind]()
    return (scale * sign * np.where(a == 0, 0, f)).astype("f4")


class Tensor:
    """A weight or bias: values, and counters with their number system where there are some."""

    def __init__(self, values, counters=None, kind=None, parameter=None, scale=None):
        self.values, self.counters, self.kind, self.parameter, self.scale = values, counters, kind, parameter, scale


def checkpoint_read(path):
    """Tensors by name ("linear1.weight"), and the metadata."""
    arrays, metadata = safetensors_read(path)
    tensors = {}
    for name, array in arrays.items():
        if name.startswith("optim.") or name.endswith(".alive"):
            continue
        if name.endswith((".sketch_in", ".sketch_out")):  # linear layers of their own, and fixed
            tensors[name + ".weight"] = Tensor(np.ascontiguousarray(array.T))
            continue
        if not name.endswith(".counter"):
            tensors[name + ".weight" if name.endswith(".router") else name] = Tensor(array)
            continue
        name = name[:-len(".counter")]
        kind, parameter = metadata[name + ".number"].split(", ")[:2]
        parameter, scale = float(parameter.split()[1]), float(metadata[name + ".scale"])
        values = number_map(kind, parameter, scale, array)
        tensors[name + ".weight" if name.endswith(".router") else name] = Tensor(values, array, kind, parameter, scale)
    return tensors, metadata


def near(found, wanted):
    """Equal, but for the last bit of a float: the C library's exp and NumPy's need not be the same."""
    return found.shape == wanted.shape and found.dtype == np.float32 and np.allclose(found, wanted, rtol=2e-7, atol=0) \
        and np.array_equal(found == 0, wanted == 0)


def number_check(what, tensor, kind, scale, parameter):
    good = kind == tensor.kind and scale == tensor.scale
    if tensor.kind not in ("linear", "square"):
        good = good and parameter == tensor.parameter
    check(what + ": number system", good, f"{kind}, scale {scale}")


# --- running the network -------------------------------------------------------------------------------------------------

def activation(layer, x):
    kind = layer["kind"]
    if kind == "relu":
        return np.maximum(x, 0)
    if kind == "leaky_relu":
        return np.where(x > 0, x, layer["negative_slope"] * x)
    if kind == "tanh":
        return np.tanh(x)
    if kind == "sigmoid":
        return 1 / (1 + np.exp(-x))
    if kind == "silu":
        return x / (1 + np.exp(-x))
    if kind == "gelu":
        return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
    raise ValueError(f"a layer {kind}")


def windows(layer, x, weight, bias):
    """A convolution or a pooling, by PyTorch."""
    import torch
    import torch.nn.functional as functional
    x = torch.from_numpy(np.ascontiguousarray(x, "f8"))
    shape = {key: tuple(layer[key]) for key in ("stride", "padding")}
    if layer["kind"] == "conv2d":
        weight = torch.from_numpy(weight.astype("f8").reshape(layer["weight"]))
        bias = None if bias is None else torch.from_numpy(bias.astype("f8"))
        y = functional.conv2d(x, weight, bias, dilation=tuple(layer["dilation"]), groups=layer["groups"], **shape)
    elif layer["kind"] == "max_pool2d":
        y = functional.max_pool2d(x, tuple(layer["kernel_size"]), **shape)
    else:
        y = functional.avg_pool2d(x, tuple(layer["kernel_size"]), count_include_pad=layer["count_include_pad"], **shape)
    return y.numpy()


def by_channel(vector, x):
    return vector.reshape((-1,) + (1,) * (x.ndim - 2))


def winners(rows, k):
    """Whether each number is among the k largest of its row; among equals the first ones are."""
    order = np.argsort(-rows, axis=1, kind="stable")
    wins = np.zeros(rows.shape, bool)
    np.put_along_axis(wins, np.take(order, np.arange(k), axis=1), True, axis=1)
    return wins


def k_winners(layer, x, factor):
    scores = x.astype("f4") if factor is None else x.astype("f4") * by_channel(factor, x)
    rows = scores if layer["local"] else scores.reshape(len(x), -1)
    return np.where(winners(rows, layer["k"]).reshape(x.shape), x, 0)


def select(layer, y, score):
    """Of the outputs y those whose block is among the k with the largest scores."""
    wins = np.repeat(winners(score.astype("f4"), layer["k"]), layer["block"], axis=1)
    return np.where(wins[:, :y.shape[1]], y, 0)


def mix(inputs, gate):
    y = gate.reshape((-1,) + (1,) * (inputs[0].ndim - 1)) * inputs[0]
    return y if len(inputs) == 1 else inputs[1] + y


def norm(layer, x, factor, bias):
    if layer["kind"] == "layer_norm":
        x = x - x.mean(-1, keepdims=True)
    y = x / np.sqrt((x * x).mean(-1, keepdims=True) + layer["eps"])
    y = y if factor is None else y * factor
    return y if bias is None else y + bias


def layer_run(layer, inputs, gate, weights):
    """gate: numbers (N) or None. weights.product(name, x): x (N, in) times the weight transposed; .dense(name): the weight; .vector(name) or None."""
    x, kind, name = inputs[0], layer["kind"], layer["name"]
    factor, bias = weights.vector(name + ".factor"), weights.vector(name + ".bias")
    if kind == "flatten":
        return x.reshape(len(x), -1)
    if kind in ("linear", "select"):
        y = weights.product(name, x)
        y = y if bias is None else y + bias
        return y if kind == "linear" else select(layer, y, inputs[1])
    if kind in ("conv2d", "max_pool2d", "avg_pool2d"):
        return windows(layer, x, weights.dense(name) if kind == "conv2d" else None, bias)
    if kind == "global_avg_pool2d":
        return x.mean((2, 3))
    if kind == "batch_norm":
        return x * by_channel(factor, x) + by_channel(bias, x)
    if kind == "k_winners":
        return k_winners(layer, x, factor)
    if kind in ("layer_norm", "rms_norm"):
        return norm(layer, x, factor, bias)
    if kind in ("add", "concat"):
        return inputs[0] + inputs[1] if kind == "add" else np.concatenate(inputs, 1)
    if kind == "softmax":
        y = np.exp(x - x.max(-1, keepdims=True))
        return y / y.sum(-1, keepdims=True)
    if kind == "mix":
        return mix(inputs, gate)
    return activation(layer, x)


def network_run(net, weights, inputs):
    """Logits of uint8 inputs, or None where PyTorch is wanted and not there."""
    if any("kernel_size" in layer for layer in net["layers"]) and library("torch") is None:
        return None
    results = {"input": (inputs.astype("f8") / 255 - net["mean"]) / net["std"]}
    for layer in net["layers"]:
        gate = results[layer["gate"]][:, layer["unit"]] if "gate" in layer else None
        results[layer["name"]] = layer_run(layer, [results[name] for name in layer["inputs"]], gate, weights)
    return results[net["layers"][-1]["name"]]


def logits_check(what, found, logits):
    if found is None:
        return
    difference, other = np.abs(found - logits).max(1), found.argmax(1) != logits.argmax(1)
    apart = int(np.sum(other | ~(difference <= TOLERANCE)))
    check(f"{what}: {len(logits)} predictions", apart <= TIES,
          f"{int(np.sum(other))} differ, logits by at most {float(np.max(difference)):.3g}; {apart} samples are apart, allowed {TIES}")


# --- the formats ---------------------------------------------------------------------------------------------------------

class Sparse:
    """A network's weights as SciPy's matrices, and its vectors from a folder or the arrays of a file."""

    def __init__(self, matrices, vectors):
        self.matrices, self.vector = matrices, vectors

    def product(self, name, x):
        return (self.matrices[name + ".weight"].astype("f8") @ x.T).T

    def dense(self, name):
        return self.matrices[name + ".weight"].toarray()


def folder_run(what, folder, matrices, read, samples):
    """`read` a vector's file; with what it is named after its layer it ends."""
    if samples is None:
        return
    with open(os.path.join(folder, "manifest.json")) as file:
        net = json.load(file)
    ending = {"npz": ".npy", "mtx": ".mtx"}[what]

    def vector(name):
        path = os.path.join(folder, name + ending)
        return read(path) if os.path.exists(path) else None

    logits_check(what, network_run(net, Sparse(matrices, vector), samples[0]), samples[1])


def matrix_of(array):
    """As the files have it: (first dimension, all others)."""
    return array.reshape(len(array), -1)


def is_written(name, tensors):
    """Whether a vector of the checkpoint leaves as it is: biases do where there is a weight of two or more dimensions."""
    layer, _, what = name.rpartition(".")
    weight = tensors.get(layer + ".weight")
    return what == "bias" and weight is not None and weight.values.ndim > 1


def npz_check(folder, tensors, samples):
    sparse = library("scipy.sparse")
    if sparse is None:
        return
    weights = {}
    for name, tensor in tensors.items():
        path = os.path.join(folder, name)
        if tensor.values.ndim == 1:
            if is_written(name, tensors):
                check(f"npz: {name}.npy", np.array_equal(np.load(path + ".npy"), tensor.values))
            continue
        matrix = weights[name] = sparse.load_npz(path + ".npz")
        check(f"npz: {name}", matrix.has_canonical_format and near(matrix.toarray(), matrix_of(tensor.values)),
              f"{matrix.format}, {matrix.nnz} entries, {matrix.dtype}")
        check(f"npz: {name}: counters are there", os.path.exists(path + ".counters.npz") == (tensor.counters is not None))
        if tensor.counters is None:
            continue
        matrix = sparse.load_npz(path + ".counters.npz")
        check(f"npz: {name}.counters", matrix.dtype == tensor.counters.dtype and
              np.array_equal(matrix.toarray(), matrix_of(tensor.counters)), f"{matrix.nnz} entries, {matrix.dtype}")
        beside = np.load(path + ".counters.npz")
        number_check(f"npz: {name}.counters", tensor, beside["map"].item().decode(), beside["scale"].item(),
                     beside["parameter"].item() if "parameter" in beside else None)
    folder_run("npz", folder, weights, np.load, samples)


def mtx_comments(path):
    """The words behind % in a Matrix Market file, by the first of them."""
    with open(path) as file:
        lines = [line[1:].split() for line in file if line.startswith("%") and not line.startswith("%%")]
    return {words[0]: words[1:] for words in lines}


def mtx_check(folder, tensors, samples):
    scipy_io = library("scipy.io")
    if scipy_io is None:
        return
    weights = {}
    for name, tensor in tensors.items():
        path = os.path.join(folder, name + ".mtx")
        if tensor.values.ndim == 1 and not is_written(name, tensors):
            continue
        matrix = scipy_io.mmread(path)
        if tensor.values.ndim == 1:
            check(f"mtx: {name}", matrix.shape == (len(tensor.values), 1) and
                  np.array_equal(matrix[:, 0].astype("f4"), tensor.values))
            continue
        field = scipy_io.mminfo(path)[4]
        if tensor.counters is None:
            weights[name] = matrix.tocsr().astype("f4")
            check(f"mtx: {name}", field == "real" and np.array_equal(weights[name].toarray(), matrix_of(tensor.values)), field)
            continue
        check(f"mtx: {name}", field == "integer" and np.array_equal(matrix.toarray(), matrix_of(tensor.counters)),
              f"{field}, {matrix.nnz} entries")
        words = mtx_comments(path)
        kind, scale = words["counters"][4].rstrip(","), float(words["scale"][0])
        parameter = float(words["parameter"][0]) if "parameter" in words else None
        number_check(f"mtx: {name}", tensor, kind, scale, parameter)
        weights[name] = matrix.tocsr().astype("f4")
        weights[name].data = number_map(kind, parameter, scale, weights[name].data)
        check(f"mtx: {name}: values", near(weights[name].toarray(), matrix_of(tensor.values)))
    folder_run("mtx", folder, weights, lambda path: scipy_io.mmread(path)[:, 0].astype("f4"), samples)


def triple_values(name, arrays, metadata, tensors):
    """The values of a weight's entries, float32."""
    tensor = tensors[name]
    if tensor.counters is None:
        return arrays[name + ".values"]
    counters = arrays[name + ".counters"]
    parameter = metadata.get(name + ".parameter")
    kind, scale = metadata[name + ".map"], float(metadata[name + ".scale"])
    number_check(f"safetensors: {name}", tensor, kind, scale, float(parameter) if parameter else None)
    check(f"safetensors: {name}: type", counters.dtype == tensor.counters.dtype, str(counters.dtype))
    return number_map(kind, float(parameter or 0), scale, counters)


def official_check(path, arrays):
    official = library("safetensors.numpy")
    if official is None:
        return
    loaded = official.load_file(path)
    check("safetensors: as the official reader has it", loaded.keys() == arrays.keys() and
          all(np.array_equal(loaded[name], arrays[name]) for name in arrays))


def safetensors_check(path, tensors, samples):
    arrays, metadata = safetensors_read(path)
    official_check(path, arrays)
    torch = library("torch")
    if torch is None:
        return
    warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
    weights = {}
    for name, tensor in tensors.items():
        if tensor.values.ndim == 1:
            if is_written(name, tensors):
                check(f"safetensors: {name}", np.array_equal(arrays[name], tensor.values))
            continue
        triple = [torch.from_numpy(array.copy()) for array in (arrays[name + ".crow_indices"],
                                                               arrays[name + ".col_indices"],
                                                               triple_values(name, arrays, metadata, tensors))]
        shape = json.loads(metadata[name + ".shape"])
        weights[name] = torch.sparse_csr_tensor(*triple, size=(shape[0], math.prod(shape[1:])))
        dense = weights[name].to_dense().numpy().reshape(shape)
        check(f"safetensors: {name}", near(dense, tensor.values), f"{weights[name].values().numel()} entries")
    if samples is None:
        return
    net = {"mean": float(metadata["mean"]), "std": float(metadata["std"]), "layers": json.loads(metadata["layers"])}

    class Compressed:
        @staticmethod
        def product(name, x):
            return (weights[name + ".weight"] @ torch.from_numpy(np.ascontiguousarray(x.T, "f4"))).numpy().T

        @staticmethod
        def dense(name):
            return weights[name + ".weight"].to_dense().numpy()

        vector = arrays.get

    logits_check("safetensors, by PyTorch", network_run(net, Compressed, samples[0]), samples[1])


def onnx_check(path):
    onnx = library("onnx")
    if onnx is None:
        return
    name = os.path.basename(path)
    model = onnx.load(path)
    try:
        # Its shape inference takes a sparse initialiser for a type of its own, which no operator accepts.
        full = not model.graph.sparse_initializer
        onnx.checker.check_model(model, full_check=full)
        check(f"onnx: {name}: the checker", True, "with shape inference" if full else "")
    except Exception as error:  # the checker's own exceptions differ between versions
        check(f"onnx: {name}: the checker", False, str(error))
    types = onnx.TensorProto.DataType.Name
    weights = [(w.values.name, types(w.values.data_type), "sparse") for w in model.graph.sparse_initializer] + \
              [(w.name, types(w.data_type), "dense") for w in model.graph.initializer if len(w.dims) > 1]
    print(f"   {name}: {os.path.getsize(path)} bytes; " + ", ".join(" ".join(w) for w in sorted(weights)))
    for w in model.graph.sparse_initializer:
        indices = np.array(w.indices.int64_data)
        check(f"onnx: {name}: {w.values.name}: places rise", bool(np.all(np.diff(indices) > 0)), f"{len(indices)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    for option in ("--npz", "--mtx", "--safetensors", "--inputs", "--logits"):
        parser.add_argument(option)
    parser.add_argument("--onnx", action="append", default=[])
    arguments = parser.parse_args()
    tensors, _ = checkpoint_read(arguments.checkpoint)
    samples = (np.load(arguments.inputs), np.load(arguments.logits)) if arguments.inputs and arguments.logits else None
    if arguments.npz:
        npz_check(arguments.npz, tensors, samples)
    if arguments.mtx:
        mtx_check(arguments.mtx, tensors, samples)
    if arguments.safetensors:
        safetensors_check(arguments.safetensors, tensors, samples)
    for path in arguments.onnx:
        onnx_check(path)
    if FAILED:
        print(f"{len(FAILED)} checks failed")
    return 1 if FAILED else 0


if __name__ == "__main__":
    sys.exit(main())
