#!/usr/bin/python3
"""Makes conv.json: convolution and pooling, values and gradients.

Reference: torch in double (Debian: python3-torch). Run it from anywhere; it writes beside itself.

A case: the op, its window (kernel_size, stride, padding, dilation, each [down, across]), groups or count_include_pad,
inputs by name, the weights g of the checked scalar sum(y * g), the result y and the gradients of that scalar for each
input. Inputs have few digits, which keeps the file small and makes ties for the maximum.
"""

import json
import os

import numpy as np
import torch
import torch.nn.functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
random = np.random.RandomState(20261126)


def draw(*shape, digits=3):
    return np.round(random.standard_normal(shape), digits)


def numbers(array):
    return [float("%.13g" % v) for v in np.asarray(array, dtype=float).ravel()]


def packed(array):
    return {"shape": list(np.shape(array)), "values": numbers(array)}


def case(op, options, inputs, compute):
    """inputs: name -> array or None (left out). compute(tensors) -> y."""
    tensors = {
        name: torch.tensor(array, dtype=torch.float64, requires_grad=True)
        for name, array in inputs.items()
        if array is not None
    }
    y = compute(tensors)
    g = draw(*y.shape)
    (y * torch.tensor(g)).sum().backward()
    return {
        "op": op,
        "options": options,
        "inputs": {name: packed(t.detach().numpy()) for name, t in tensors.items()},
        "g": packed(g),
        "y": packed(y.detach().numpy()),
        "grads": {name: packed(t.grad.numpy()) for name, t in tensors.items()},
    }


def window(size, stride=(1, 1), padding=(0, 0), dilation=(1, 1)):
    return {"kernel_size": size, "stride": stride, "padding": padding, "dilation": dilation}


# x, outputs, groups, bias, window
CONVOLUTIONS = [
    ((2, 1, 6, 6), 3, 1, 1, window((3, 3))),
    ((1, 2, 5, 7), 4, 1, 1, window((3, 2), padding=(1, 1))),
    ((2, 3, 7, 5), 2, 1, 0, window((3, 3), stride=(2, 2), padding=(1, 1))),
    ((2, 4, 4, 5), 6, 2, 1, window((2, 3), padding=(0, 1))),
    ((3, 4, 4, 4), 4, 4, 1, window((3, 3), padding=(1, 1))),  # depthwise
    ((2, 3, 6, 7), 3, 3, 0, window((3, 2), stride=(1, 2), padding=(2, 1))),
    ((2, 2, 8, 7), 3, 1, 1, window((3, 2), dilation=(2, 3))),
    ((1, 2, 9, 8), 2, 1, 1, window((2, 3), stride=(3, 1), padding=(2, 4), dilation=(3, 2))),
    ((3, 5, 3, 4), 4, 1, 1, window((1, 1))),
    ((1, 2, 8, 9), 3, 1, 1, window((1, 1))),  # as many windows as make a product of their own
    ((2, 4, 5, 4), 4, 2, 0, window((1, 1), stride=(2, 2))),
    ((2, 2, 4, 3), 3, 1, 1, window((4, 3))),  # one window
    ((1, 1, 12, 11), 2, 1, 1, window((5, 5), padding=(2, 2))),
    ((5, 2, 3, 3), 2, 1, 1, window((2, 2), padding=(1, 0))),
    ((2, 2, 3, 2), 3, 1, 1, window((3, 4), padding=(3, 4))),  # windows of padding alone
    ((2, 6, 4, 3), 3, 3, 1, window((1, 2), stride=(2, 1), dilation=(1, 2))),
]

# x, window
POOLS = [
    ((2, 3, 6, 8), window((2, 2), stride=(2, 2))),
    ((2, 2, 7, 5), window((2, 2), stride=(2, 2))),  # a row and a column left over
    ((1, 2, 7, 8), window((3, 3), stride=(2, 2), padding=(1, 1))),
    ((2, 2, 5, 6), window((3, 2), stride=(1, 1), padding=(1, 0))),
    ((1, 3, 9, 7), window((2, 5), stride=(3, 2), padding=(1, 2))),
    ((3, 2, 4, 5), window((4, 5), stride=(1, 1))),  # the whole image
    ((1, 2, 11, 10), window((2, 3), stride=(4, 3))),  # windows apart
]


def conv2d_cases():
    for shape, out, groups, bias, w in CONVOLUTIONS:
        inputs = {
            "x": draw(*shape),
            "weight": draw(out, shape[1] // groups, *w["kernel_size"]),
            "bias": draw(out) if bias else None,
        }
        yield case(
            "conv2d",
            {**w, "groups": groups},
            inputs,
            lambda t: F.conv2d(
                t["x"], t["weight"], t.get("bias"), w["stride"], w["padding"], w["dilation"], groups
            ),
        )


def pool_cases():
    for shape, w in POOLS:
        size, stride, padding = w["kernel_size"], w["stride"], w["padding"]
        yield case(
            "max_pool2d", dict(w), {"x": draw(*shape, digits=1)}, lambda t: F.max_pool2d(t["x"], size, stride, padding)
        )
        for count in (True, False):
            yield case(
                "avg_pool2d",
                {**w, "count_include_pad": count},
                {"x": draw(*shape)},
                lambda t: F.avg_pool2d(t["x"], size, stride, padding, count_include_pad=count),
            )


def main():
    cases = [*conv2d_cases(), *pool_cases()]
    made_by = f"tests/golden/conv.py, torch {torch.__version__}, numpy {np.__version__}"
    with open(os.path.join(HERE, "conv.json"), "w") as file:
        file.write('{\n "made_by": ' + json.dumps(made_by) + ',\n "cases": [\n  ')
        file.write(",\n  ".join(json.dumps(c, separators=(",", ":")) for c in cases))
        file.write("\n ]\n}\n")


if __name__ == "__main__":
    main()
