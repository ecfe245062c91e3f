"""The nets and optimisers of tests/bench/run, as Tally's configs say them: both sides build from these lists.

Data is made here, so that the benchmark runs anywhere: speed does not depend on what is in it, but for the branches of a
maximum, so images are smooth and mostly black, as MNIST's. Labels are drawn at random, so nothing can be learned by heart.
"""
import json
import math
import os
import random
import struct

TOKENS, CONTEXT, SPREAD = 65, 64, 256


def linear(out):
    return {"linear": {"out": out}}


def mlp(*sizes):
    layers = ["flatten"]
    for out in sizes:
        layers += [linear(out), "relu"]
    return layers[:-1]


def transformer(blocks, width, heads):
    block = {"transformer_block": {"heads": heads, "causal": True}}
    return ([{"embedding": {"num_embeddings": TOKENS, "embedding_dim": width}}, "positional_embedding"] + [block] * blocks
            + ["layer_norm", linear(TOKENS)])


LENET5 = [{"conv2d": {"out": 20, "kernel_size": 5}}, "relu", {"max_pool2d": {"kernel_size": 2}},
          {"conv2d": {"out": 50, "kernel_size": 5}}, "relu", {"max_pool2d": {"kernel_size": 2}},
          "flatten", linear(500), "relu", linear(10)]

# count: training samples, an epoch; targets: answers for a sample; shards: of a batch, 2 where nothing is said.
NETS = {
    "mlp": {"title": "784-300-100-10", "batch": 128, "sample": (1, 28, 28), "count": 16384, "targets": 1,
            "model": mlp(300, 100, 10)},
    "mlp1": {"title": "784-300-100-10, one shard", "batch": 128, "sample": (1, 28, 28), "count": 16384, "targets": 1,
             "shards": 1, "model": mlp(300, 100, 10)},
    "lenet5": {"title": "LeNet-5", "batch": 128, "sample": (1, 28, 28), "count": 1024, "targets": 1, "model": LENET5},
    "transformer": {"title": "transformer", "batch": 32, "sample": (CONTEXT,), "count": 128, "targets": CONTEXT,
                    "shards": 4, "model": transformer(4, 128, 4)},
    "wide": {"title": "3072-1024-1024-10", "batch": 128, "sample": (3, 32, 32), "count": 1024, "targets": 1,
             "model": mlp(1024, 1024, 10)},
    "wide1": {"title": "3072-1024-1024-10, one shard", "batch": 128, "sample": (3, 32, 32), "count": 1024, "targets": 1,
              "shards": 1, "model": mlp(1024, 1024, 10)},
}

SGD, ADAM = {"sgd": {"rate": 0.01, "momentum": 0.9}}, {"adam": {"rate": 0.001}}
OPTIMISERS = {  # of weights and of others
    "sgd": (SGD, SGD),
    "adam": (ADAM, ADAM),
    "counter": ({"counter": {"map": "square", "bits": 16, "rate": 0.01, "leak": 0.03}}, ADAM),
    "madam": ({"madam": {"rate": 0.01}}, ADAM),
}


def name_options(layer):
    """(name, options) of a layer of a config."""
    return (layer, {}) if isinstance(layer, str) else next(iter(layer.items()))


def config(net, optimiser, epochs):
    """Tally's config of the training on what data_make writes."""
    if len(net["sample"]) == 1:
        data = {"set": {"text": {"file": "text.txt", "context": CONTEXT}}}
    else:
        data = {"set": {"npy": {"folder": "."}}, "validation": 0}
    weights, others = OPTIMISERS[optimiser]
    train = {"epochs": epochs, "batch": net["batch"], "checkpoint_every": 1000000}
    if "shards" in net:
        train["shards"] = net["shards"]
    return {"name": "bench", "data": data, "model": net["model"], "optim": {"weights": [weights], "others": [others]},
            "train": train}


# --- work of a step ----------------------------------------------------------------------------------------------------


def step_flops(net):
    """Floating-point operations of the dense matrix products of a step: forward, dW, and dX but of the first layer.

    Attention's count in full, as causal ones do at this context on both sides.
    """
    total, shape, first = 0, net["sample"], True
    for layer in net["model"]:
        name, options = name_options(layer)
        flops = 0
        if name == "linear":
            rows, shape_in = math.prod(shape[:-1]), shape[-1]
            flops, shape = 2 * rows * shape_in * options["out"], shape[:-1] + (options["out"],)
        elif name == "conv2d":
            kernel = options["kernel_size"]
            down, across = shape[1] - kernel + 1, shape[2] - kernel + 1
            flops = 2 * options["out"] * shape[0] * kernel * kernel * down * across
            shape = (options["out"], down, across)
        elif name == "max_pool2d":
            size = options["kernel_size"]
            shape = (shape[0], shape[1] // size, shape[2] // size)
        elif name == "flatten":
            shape = (math.prod(shape),)
        elif name == "embedding":
            shape, first = shape + (options["embedding_dim"],), False
        elif name == "transformer_block":
            length, width = shape
            flops = 2 * length * 12 * width * width + 4 * length * length * width
        total += flops * (2 if first and flops else 3)
        first = first and not flops
    return total * net["batch"]


# --- data --------------------------------------------------------------------------------------------------------------


def npy_write(path, shape, numbers):
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({', '.join(map(str, shape))},), }}"
    header += " " * (63 - (10 + len(header)) % 64) + "\n"
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode("latin1") + numbers)


def image(draw, sample):
    """Bytes (channels, height, width) of which about a fifth are not black."""
    pixels = bytearray()
    for _ in range(sample[0]):
        waves = [(draw.uniform(0.1, 0.5), draw.uniform(0.1, 0.5), draw.uniform(0, 6.3)) for _ in range(3)]
        for row in range(sample[1]):
            for column in range(sample[2]):
                level = sum(math.sin(a * row + b * column + c) for a, b, c in waves) - 1.05
                pixels.append(max(0, min(255, int(200 * level))))
    return bytes(pixels)


def data_make(net, folder):
    """Writes what the net trains on: arrays of images and labels, or a text."""
    draw = random.Random(1)
    if len(net["sample"]) == 1:
        letters = [chr(ord("0") + i) for i in range(TOKENS)]
        size = net["count"] * CONTEXT * 10 // 9 + CONTEXT
        with open(os.path.join(folder, "text.txt"), "w") as file:
            file.write("".join(letters) + "".join(draw.choice(letters) for _ in range(size)))
        return
    images = b"".join(image(draw, net["sample"]) for _ in range(SPREAD))
    channels, height, width = net["sample"]
    shape = (height, width) if channels == 1 else (channels, height, width)
    for part, count in (("", net["count"]), ("_test", SPREAD)):
        labels = bytes(draw.randrange(10) for _ in range(count))
        npy_write(os.path.join(folder, f"x{part}.npy"), (count,) + shape, images * (count // SPREAD))
        npy_write(os.path.join(folder, f"y{part}.npy"), (count,), labels)


def config_write(net, optimiser, epochs, folder):
    """The path of the config, written to the data's folder."""
    path = os.path.join(folder, "bench.json")
    with open(path, "w") as file:
        json.dump(config(net, optimiser, epochs), file)
    return path
