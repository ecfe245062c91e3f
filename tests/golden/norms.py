#!/usr/bin/python3
"""Makes norms.json: normalisation, activations, concat, k_winners and smoothed cross entropy, values and gradients.

Reference: torch in double (Debian: python3-torch). rms_norm and k_winners, which torch 1.13 has not, are written here
from their formulas on torch's autograd. Run it from anywhere; it writes beside itself.

A case: the op, its options, inputs by name, the weights g of the checked scalar sum(y * g), the result y and the
gradients of that scalar for each differentiable input. Buffers: what the op adds to the gradients of its buffers, or
(batch_norm) what PyTorch's running statistics are afterwards.
"""

import json
import os

import numpy as np
import torch
import torch.nn.functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
random = np.random.RandomState(20261125)


def draw(*shape, scale=1.0, shift=0.0):
    """Numbers with few digits, which keeps the file small."""
    return np.round(random.standard_normal(shape) * scale + shift, 4)


def tensor(array, grad=True):
    return torch.tensor(array, dtype=torch.float64, requires_grad=grad)


def packed(array):
    array = np.asarray(array, dtype=float)
    return {"shape": list(array.shape), "values": array.ravel().tolist()}


def case(op, options, inputs, compute, buffers=None):
    """inputs: name -> array or None (left out). compute(tensors) -> y, and what `buffers` holds after it."""
    tensors = {name: tensor(array) for name, array in inputs.items() if array is not None}
    y, after = compute(tensors)
    g = draw(*y.shape) if y.dim() else np.array(draw(1)[0])
    (y * tensor(g, False)).sum().backward()
    return {
        "op": op,
        "options": options,
        "inputs": {name: packed(t.detach().numpy()) for name, t in tensors.items()},
        "buffers": {name: packed(array) for name, array in (buffers or {}).items()},
        "g": packed(g),
        "y": packed(y.detach().numpy()),
        "grads": {name: packed(t.grad.numpy()) for name, t in tensors.items()},
        "after": {name: packed(array) for name, array in after.items()},
    }


def layer_norm_cases():
    for shape, affine, bias in (((3, 5), 1, 1), ((2, 3, 17), 1, 1), ((2, 2, 3, 8), 1, 0), ((4, 40), 0, 0), ((2, 1), 1, 1)):
        n, eps = shape[-1], 1e-5 if affine else 0.1
        inputs = {
            "x": draw(*shape, scale=2, shift=1),
            "weight": draw(n, shift=1) if affine else None,
            "bias": draw(n) if bias else None,
        }
        yield case(
            "layer_norm",
            {"eps": eps},
            inputs,
            lambda t: (F.layer_norm(t["x"], (n,), t.get("weight"), t.get("bias"), eps), {}),
        )


def rms_norm_cases():
    def compute(t, eps):
        y = t["x"] * torch.rsqrt((t["x"] ** 2).mean(-1, keepdim=True) + eps)
        return (y * t["weight"] if "weight" in t else y), {}

    for shape, affine in (((3, 5), 1), ((2, 3, 17), 1), ((2, 2, 3, 8), 0), ((2, 33), 1)):
        eps = 1e-6 if affine else 0.1
        inputs = {"x": draw(*shape, shift=0.5), "weight": draw(shape[-1], shift=1) if affine else None}
        yield case("rms_norm", {"eps": eps}, inputs, lambda t: compute(t, eps))


def batch_norm_cases():
    shapes = ((6, 3), (5, 20), (4, 3, 2, 5), (2, 5, 3, 3), (3, 2, 9), (1, 4, 3, 4), (7, 2))
    for index, shape in enumerate(shapes):
        for training in (True, False):
            channels, eps, momentum = shape[1], 1e-5 if index else 0.1, 0.1 + 0.05 * index
            affine = index != 4
            inputs = {
                "x": draw(*shape, scale=2, shift=1),
                "weight": draw(channels, shift=1) if affine else None,
                "bias": draw(channels) if affine and index != 3 else None,
            }
            buffers = {"running_mean": draw(channels), "running_var": np.abs(draw(channels)) + 0.5}

            def compute(t):
                mean, var = (tensor(buffers[name], False) for name in ("running_mean", "running_var"))
                y = F.batch_norm(t["x"], mean, var, t.get("weight"), t.get("bias"), training, momentum, eps)
                return y, {"running_mean": mean.numpy(), "running_var": var.numpy()}

            options = {"eps": eps, "training": training, "momentum": momentum}
            yield case("batch_norm", options, inputs, compute, buffers)


def activation_cases():
    for shape in ((2, 3), (3, 4, 5), (2, 3, 2, 2)):
        yield case("softmax", {}, {"x": draw(*shape, scale=3)}, lambda t: (F.softmax(t["x"], -1), {}))
        yield case("silu", {}, {"x": draw(*shape, scale=3)}, lambda t: (F.silu(t["x"]), {}))
        for slope in (0.01, 0.3):
            x = {"x": draw(*shape)}
            options = {"negative_slope": slope}
            yield case("leaky_relu", options, x, lambda t: (F.leaky_relu(t["x"], slope), {}))


def concat_cases():
    for shapes in (((2, 3), (2, 4)), ((3, 2, 2), (3, 1, 2), (3, 4, 2)), ((2, 1, 3, 2),), ((2, 2, 2, 2),) * 5):
        inputs = {f"x{i}": draw(*shape) for i, shape in enumerate(shapes)}
        yield case("concat", {}, inputs, lambda t: (torch.cat(list(t.values()), 1), {}))


def cross_entropy_cases():
    for rows, classes, smoothing in ((3, 4, 0.0), (5, 3, 0.1), (2, 10, 0.3), (4, 2, 1.0)):
        labels = random.randint(0, classes, size=rows)
        yield case(
            "cross_entropy",
            {"smoothing": smoothing, "labels": labels.tolist()},
            {"x": draw(rows, classes, scale=3)},
            lambda t: (F.cross_entropy(t["x"], torch.tensor(labels), label_smoothing=smoothing), {}),
        )


def k_winners(x, duty, k, boost, local):
    """Winners of x (B, C, ...) and how much each adds to the duty of its channel: by sorting."""
    places = int(np.prod(x.shape[2:]))
    value = x.detach().numpy().reshape(x.shape[0], x.shape[1], places)
    boosted = value * np.exp(boost * (k / value[0].size - duty))[None, :, None]  # the paper's form, with its target
    mask = np.zeros_like(boosted)
    for row, won in zip(boosted, mask):
        if local:
            order = np.argsort(-row, axis=0, kind="stable")[:k]
            np.put_along_axis(won, order, 1, axis=0)
        else:
            won.flat[np.argsort(-row.ravel(), kind="stable")[:k]] = 1
    duty_sum = ((mask * value) > 0).sum(axis=(0, 2)) / places
    return x * torch.tensor(mask.reshape(x.shape)), {"duty": duty_sum}


def k_winners_cases():
    for shape, k, boost, local in (
        ((4, 10), 3, 0.0, False),
        ((3, 30), 7, 1.5, False),
        ((2, 5), 5, 1.0, False),
        ((2, 4, 3, 3), 6, 1.3, False),
        ((3, 6, 2, 4), 2, 1.0, True),
        ((2, 3, 5), 4, 2.0, False),
        ((2, 9, 3), 1, 4.0, True),
    ):
        duty = np.round(random.uniform(0, 0.8, size=shape[1]), 3)
        yield case(
            "k_winners",
            {"k": k, "boost": boost, "local": local},
            {"x": draw(*shape)},
            lambda t: k_winners(t["x"], duty, k, boost, local),
            {"duty": duty},
        )


def main():
    makers = (
        layer_norm_cases,
        rms_norm_cases,
        batch_norm_cases,
        activation_cases,
        concat_cases,
        cross_entropy_cases,
        k_winners_cases,
    )
    cases = [one for maker in makers for one in maker()]
    head = {"made_by": f"tests/golden/norms.py, torch {torch.__version__}, numpy {np.__version__}"}
    rows = ",\n".join("  " + json.dumps(one, separators=(",", ":")) for one in cases)
    text = "{\n" + f' "made_by": {json.dumps(head["made_by"])},\n "cases": [\n{rows}\n ]\n' + "}\n"
    assert len(json.loads(text)["cases"]) == len(cases)
    path = os.path.join(HERE, "norms.json")
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
    print(f"{os.path.relpath(path)}: {len(cases)} cases, {len(text)} bytes")


if __name__ == "__main__":
    main()
