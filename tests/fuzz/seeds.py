#!/usr/bin/env python3
"""Makes the seeds of all targets but model and checkpoint, small files of every kind that they read.

usage: tests/fuzz/seeds.py [FOLDER]      default: tests/fuzz/corpus

Written from the formats' descriptions with Python's standard library alone, apart from Tally's own writers. The seeds of
model and checkpoint come from seeds.c.
"""
import gzip
import json
import os
import struct
import sys
import zlib


def npy(descr, shape, elements):
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (-(11 + len(text)) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + elements


def npy_seeds():
    yield "floats", npy("<f4", "(2, 3)", struct.pack("<6f", 0, -0.0, 1.5, float("inf"), 1e-40, -7))
    yield "bytes", npy("|u1", "(1, 2, 2, 3)", bytes(range(12)))
    yield "one", npy("<f4", "(3,)", struct.pack("<3f", 1, 2, 3))
    yield "scalar", npy("<f4", "()", struct.pack("<f", 1))
    yield "doubles", npy("<f8", "(1,)", struct.pack("<d", 1))
    yield "fortran", npy("<f4", "(1, 1)", struct.pack("<f", 1)).replace(b"False", b"True ")


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width, height, depth, colour, rows, interlaced=0, before=b""):
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))
            + before + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b""))


def rows(width, height, bits):
    """Rows of a picture, each with another filter."""
    line = (width * bits + 7) // 8
    return b"".join(bytes([y % 5]) + bytes((x * 37 + y * 11) % 256 for x in range(line)) for y in range(height))


def adam7(width, height, bits):
    out = b""
    for x, y, dx, dy in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)):
        columns, lines = (width - x + dx - 1) // dx, (height - y + dy - 1) // dy
        if columns > 0 and lines > 0:
            out += rows(columns, lines, bits)
    return out


def png_seeds():
    palette = chunk(b"PLTE", bytes(range(12)))
    for how, name in ((0, "grey"), (1, "colour")):
        first = bytes([how])
        yield f"{name}-from-grey", first + png(5, 4, 8, 0, rows(5, 4, 8))
        yield f"{name}-from-grey-1", first + png(9, 2, 1, 0, rows(9, 2, 1))
        yield f"{name}-from-grey-16", first + png(3, 3, 16, 0, rows(3, 3, 16), before=chunk(b"tRNS", b"\x00\x25"))
        yield f"{name}-from-rgb", first + png(4, 6, 8, 2, rows(4, 6, 24), before=chunk(b"gAMA", struct.pack(">I", 45455)))
        yield f"{name}-from-rgb-16", first + png(2, 2, 16, 2, rows(2, 2, 48))
        yield f"{name}-from-palette", first + png(7, 3, 2, 3, rows(7, 3, 2), before=palette + chunk(b"tRNS", b"\x00\x80"))
        yield f"{name}-from-grey-alpha", first + png(3, 2, 8, 4, rows(3, 2, 16))
        yield f"{name}-from-rgb-alpha", first + png(3, 2, 16, 6, rows(3, 2, 64))
        yield f"{name}-interlaced", first + png(9, 9, 8, 2, adam7(9, 9, 24), interlaced=1)
        yield f"{name}-text", first + png(1, 1, 8, 0, rows(1, 1, 8), before=chunk(b"tEXt", b"Title\x00x") +
                                          chunk(b"zTXt", b"Z\x00\x00" + zlib.compress(b"a" * 99)))


def safetensors_seeds():
    """First the byte that says whether the length is there, see safetensors.c."""
    def file(header, data):
        text = json.dumps(header).encode()
        return b"\x80" + struct.pack("<Q", (len(text) + 7) // 8 * 8) + text + b" " * (-len(text) % 8) + data

    def parts(header, data):
        return b"\0" + json.dumps(header).encode() + data

    def entry(dtype, shape, begin, end):
        return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    sizes = {"F64": 8, "F32": 4, "I32": 4, "I16": 2, "I8": 1, "U8": 1}
    every, at = {"__metadata__": {"format": "tally"}}, 0
    for dtype, size in sizes.items():
        every[f"layer.{dtype}"] = entry(dtype, [2, 3], at, at + 6 * size)
        at += 6 * size
    for name, make in (("file", file), ("parts", parts)):
        yield f"{name}-empty", make({}, b"")
        yield f"{name}-metadata", make({"__metadata__": {"config": "{}", "step": "7"}}, b"")
        yield f"{name}-every-dtype", make(every, bytes(at))
        yield f"{name}-scalar", make({"a": entry("F32", [], 0, 4)}, b"\0\0\x80?")
        yield f"{name}-rank-4", make({"x": entry("U8", [1, 2, 1, 3], 0, 6)}, b"abcdef")


def idx_seeds():
    def idx(*dims):
        size = 1
        for d in dims:
            size *= d
        return bytes((0, 0, 8, len(dims))) + struct.pack(f">{len(dims)}I", *dims) + bytes(i % 256 for i in range(size))
    for packed in (0, 4):
        name = "packed" if packed else "plain"
        yield f"{name}-labels", bytes([packed]) + idx(7)
        yield f"{name}-images", bytes([packed + 2]) + idx(2, 3, 4)
        yield f"{name}-rank-4", bytes([packed + 3]) + idx(1, 2, 2, 2)
    for level, name in ((0, "stored"), (1, "fixed"), (9, "dynamic")):
        strategy = zlib.Z_FIXED if level == 1 else zlib.Z_DEFAULT_STRATEGY
        deflate = zlib.compressobj(level, zlib.DEFLATED, -15, 9, strategy)
        yield f"stream-{name}", bytes([8 + 2]) + deflate.compress(idx(2, 8, 20)) + deflate.flush()
    deflate = zlib.compressobj(9, zlib.DEFLATED, 31)
    yield "gzip", bytes([2]) + deflate.compress(idx(2, 8, 8)) + deflate.flush()


def json_seeds():
    yield "words", b'[null,true,false,-0.0,1e-300,12345678901234567890,0.1,"\\u00e9\\ud83d\\ude00\\n\\"\\\\\\/"]'
    yield "nested", b"[" * 60 + b"{}" + b"]" * 60
    yield "keys", b'{"":1,"A":2,"a":3,"a.b":{"0":[]}}'
    yield "utf8", '"é 😀 \x7f"'.encode()


def parts(*pairs):
    """An input of several parts, see fuzz.h."""
    return b"\n@@".join(what + content for what, content in pairs)


def data_seeds():
    """First the set, then files by their place in the table of data.c."""
    def of(options, **files):
        return parts((b" ", json.dumps(options).encode()), *((bytes([int(k[1:])]), v) for k, v in files.items()))

    def idx(*dims):
        size = 1
        for d in dims:
            size *= d
        return bytes((0, 0, 8, len(dims))) + struct.pack(f">{len(dims)}I", *dims) + bytes(i % 10 for i in range(size))
    labels = bytes(range(10))
    yield "cifar", of({"cifar10": {"limit": 12}}, f0=labels, f1=labels, f2=b"\1", f3=b"\2", f4=b"\3", f6=b"\0\7")
    yield "cifar-raw", of("cifar10", **{f"f{128 + i}": bytes([i]) + bytes(3072) for i in (0, 1, 2, 3, 4, 6)})
    yield "cifar-elsewhere", of({"cifar10": {}}, f5=labels)
    yield "mnist", of({"mnist": {"limit": 3}}, f7=idx(4, 3, 3), f8=idx(4), f10=idx(2, 3, 3), f11=idx(2))
    yield "mnist-packed", of("mnist", f7=idx(4, 3, 3), f8=idx(4), f11=idx(2), f9=gzip.compress(idx(2, 3, 3), mtime=0))
    tale = b"the quick brown fox jumps over the lazy dog. " * 8
    yield "text", of({"text": {"context": 4, "test": 0.1, "validation": 0.1}}, f12=tale)
    yield "text-bytes", of({"text": {"unit": "bytes", "context": 8, "step": 2, "validation": 0, "test": 0.2}},
                           f12="größer \n".encode() * 9)
    yield "text-classes", of({"text": {"classes": 99, "context": 2}}, f12=tale)
    x, y = npy("|u1", "(6, 2, 3)", bytes(range(36))), npy("<i8", "(6,)", struct.pack("<6q", 0, 1, 2, 0, 1, 2))
    yield "npy-images", of({"npy": {"test": 0.4, "seed": 3}}, f13=x, f14=y)
    numbers = npy("<f4", "(4, 2)", struct.pack("<8f", *range(8)))
    yield "npy-numbers", of("npy", f13=numbers, f14=npy("<f8", "(4, 1)", struct.pack("<4d", 1, 2, 3, 4)),
                            f15=numbers, f16=npy("<f4", "(4, 1)", struct.pack("<4f", 1, 2, 3, 4)))
    grey, colour = png(3, 4, 8, 0, rows(3, 4, 8)), png(3, 4, 8, 2, rows(3, 4, 24))
    yield "images", of({"png_folder": {"test": 0.4}}, f17=grey, f18=grey, f19=grey)
    yield "images-resized", of({"png_folder": {"resize": [6, 2], "channels": "rgb"}}, f20=grey, f21=colour, f22=grey, f24=colour)
    yield "images-strange", of({"png_folder": {}}, f20=grey, f21=grey, f23=grey)


BINS = 48  # of histogram.json

COUNTER = {"weights": [{"counter": {"bits": 8}}], "others": ["adam"]}
SGD = {"weights": ["sgd"], "others": [{"sgd": {"momentum": 0.9}}]}
CONV = {"conv2d": {"out": 3, "kernel_size": [3, 2], "padding": 1, "groups": 1}}
MODELS = {  # name: samples (see small.h), layers
    "linear": (0, ["flatten", {"linear": {"out": 7}}, "relu", {"dropout": {"p": 0.2}}, {"linear": {"out": 10}}]),
    "conv": (3, [CONV, "batch_norm", "leaky_relu", {"max_pool2d": {"kernel_size": 2, "padding": 1}},
                 {"avg_pool2d": {"kernel_size": 2}}, "flatten", "layer_norm", {"linear": {"out": 3}}]),
    "residual": (0, [{"residual": {"layers": [{"conv2d": {"out": 2, "kernel_size": 3, "padding": 1}}, "silu"],
                                   "shortcut": [{"conv2d": {"out": 2, "kernel_size": 1}}]}},
                     {"concat": {"branches": [[], ["tanh"]]}}, "global_avg_pool2d", "sigmoid", {"linear": {"out": 10}}]),
    "words": (1, [{"embedding": {"num_embeddings": 20, "embedding_dim": 4}}, "positional_embedding", "rms_norm",
                  {"linear": {"out": 20}}]),
    "transformer": (1, [{"embedding": {"num_embeddings": 20, "embedding_dim": 4}},
                        {"transformer_block": {"heads": 2, "causal": True, "window": 3}},
                        {"attention": {"heads": 1, "topk": 2, "causal": True}}, {"linear": {"out": 20}}]),
    "winners": (0, ["flatten", {"linear": {"out": 8}}, {"k_winners": {"density": 0.5}}, "gelu", {"linear": {"out": 10}},
                    "softmax"]),
    "experts": (0, ["flatten", {"experts": {"experts": 3, "k": 2, "layers": [{"linear": {"out": 4}}, "relu"]}},
                    {"selector": {"out": 10, "density": 0.5, "block": 2, "rank": 2}}]),
    "shared": (0, ["flatten", {"selector": {"out": 10, "density": 0.5, "block": 2, "per": "batch", "choose": "random"}}]),
    "numbers": (2, [{"linear": {"out": 2}}]),
}
OPTIMS = {
    "linear": dict(COUNTER, schedule={"cosine": {}}, sparsity={"target": 0.3, "begin": 0.1, "end": 0.5, "freeze": 0.6}),
    "conv": {"weights": [{"clip": {"norm": 1}}, "adamw"], "others": ["sgd"]},
    "words": {"weights": ["madam"], "others": ["adam"]},
    "experts": {"weights": ["integer_madam"], "others": ["adam"]},
    "transformer": {"weights": [{"counter": {"map": "exp", "bits": 16}}], "others": ["adamw"]},
    "numbers": SGD,
}


def config_seeds():
    for name, (samples, layers) in MODELS.items():
        train = {"epochs": 2, "batch": 64, "shards": 2}
        if name == "numbers":
            train["loss"] = "mse"
        config = {"name": name, "seed": 1, "data": {"set": {"digits": {"train": 100}}}, "model": layers,
                  "optim": OPTIMS.get(name, COUNTER), "train": train}
        yield name, bytes([samples]) + json.dumps(config, separators=(",", ":")).encode()
    config = {"data": {"set": "mnist", "fallback": {"digits": {"train": 100}}, "folder": "d", "validation": 10,
                       "normalise": False, "augment": {"shift": 2, "flip": True}},
              "model": ["flatten", {"linear": {"out": 10}}], "optim": SGD,
              "train": {"loss": {"cross_entropy": {"label_smoothing": 0.1}}, "metrics": ["error", "perplexity"]}}
    words = (b"train.epochs=3", b"momentum=0.5", b'optim.weights.0={"madam":{}}', b"model.1.linear.out=10", b"seed=7")
    yield "words-of-the-command-line", parts((b"\0", json.dumps(config, indent=1).encode()), *((b"o", w) for w in words))
    yield "small", b'\0{"data":{"set":"digits"},"model":[],"optim":{}}'


def export_seeds():
    for i, (name, (samples, layers)) in enumerate(MODELS.items()):
        for how in (3 * i, 0x30 + 4 + i):
            yield f"{name}-{how}", bytes([samples, how]) + parts(
                (b"m", json.dumps(layers, separators=(",", ":")).encode()),
                (b"o", json.dumps(OPTIMS.get(name, COUNTER), separators=(",", ":")).encode()))
    pow2 = {"weights": [{"counter": {"map": "pow2", "bits": 6}}], "others": ["sgd"]}
    layers = json.dumps(["flatten", {"linear": {"out": 6}}, "relu", {"linear": {"out": 10}}]).encode()
    for how in (2, 65):
        yield f"integer-{how}", bytes([0, how]) + parts((b"m", layers), (b"o", json.dumps(pow2).encode()))


def results_seeds():
    """Files by their letters, see results.c."""
    cuts = ("0.5", "0.2", "0.1", "0.05", "0.02", "0.01", "0.005")
    keys = ["test_error", "validation_error", "weights", "nonzero", "density", "density_0p1", "density_1", "norm_top_1",
            "norm_top_5", "gini", "hoyer", "kurtosis", *("pruned_error_" + c for c in cuts), "steps_to_5", "steps_to_3",
            "steps_to_2", "entropy_bytes", "state_bytes", "test_loss", "validation_loss",
            *("pruned_loss_" + c for c in cuts), "step_seconds"]

    def dump(node):
        return json.dumps(node, separators=(",", ":")).encode()

    def run(name, seed, first, errors=True):
        layer = {"name": "linear1.weight", "weights": 20, "nonzero": 5, "density": 0.25, "map": "square", "bits": 8,
                 "largest_counter": 99}
        summary = {"name": name, "seed": seed, "status": "finished", "dataset": "digits", "test_error": 1.5,
                   "validation_error": 2.5, "samples_per_second": 1000, "density": 0.5, "per_layer": [layer]}
        measures = {k: None if "error" in k and not errors else first + i for i, k in enumerate(keys)}
        lines = [{"epoch": e, "validation_error": 9 / e, "validation_loss": 1 / e, "density": 1 / e,
                  "density_per_layer": {"linear1.weight": 1 / e}} for e in (1, 2)]
        return dump(summary), dump(measures), b"\n".join(dump(line) for line in lines) + b"\n"

    def histogram():
        zeros = {"zeros": 15, "counts": [1] + [0] * (BINS - 1)}
        return dump({"bins": [-8 + i / 4 for i in range(BINS + 1)], "layers": {"linear1.weight": zeros}})
    a, b, c = run("a", 1, 1), run("b", 1, 2), run("a", 2, 0.5)
    yield "one", parts((b"s", a[0]), (b"m", a[1]), (b"l", a[2]), (b"h", histogram()),
                       (b"w", png(2, 2, 8, 2, rows(2, 2, 24))))
    yield "two", parts((b"s", a[0]), (b"m", a[1]), (b"l", a[2]), (b"S", b[0]), (b"M", b[1]), (b"L", b[2]))
    yield "seeds", parts((b"s", a[0]), (b"m", a[1]), (b"S", c[0]), (b"M", c[1]))
    d, e = run("a", 1, 1, False), run("b", 1, 2, False)
    yield "losses", parts((b"s", d[0]), (b"m", d[1]), (b"S", e[0]), (b"M", e[1]), (b"h", histogram()))
    base = {"data": {"set": "digits"}, "model": ["flatten", {"linear": {"out": 10}}], "optim": SGD}
    compare = {"base": "base.json", "seeds": 2, "set": {"train.epochs": 1},
               "variants": {"sgd": {}, "madam": {"optim.weights": ["madam"]}}}
    yield "compare", parts((b"x", dump(compare)), (b"b", dump(base)))
    for i, word in enumerate((b"leak=0.01,0.03,[1,2]", b"rate=1e-3..1e-1:log:3", b"a.b=1..9:lin:4", b"p=0..1:log", b"x=1..5")):
        yield f"sweep-{i}", parts((b"v", word))


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")
    for target, seeds in (("npy", npy_seeds), ("png", png_seeds), ("safetensors", safetensors_seeds), ("idx", idx_seeds),
                          ("json", json_seeds), ("data", data_seeds), ("config", config_seeds), ("export", export_seeds),
                          ("results", results_seeds)):
        os.makedirs(os.path.join(folder, target), exist_ok=True)
        for name, content in seeds():
            with open(os.path.join(folder, target, name), "wb") as f:
                f.write(content)


if __name__ == "__main__":
    main()
