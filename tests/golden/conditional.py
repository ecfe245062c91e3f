#!/usr/bin/python3
"""Makes conditional.json: ops and layers that compute a part of themselves, values and gradients.

Reference: torch in double (Debian: python3-torch): dense layers times a mask of what is chosen. Run it from anywhere; it
writes beside itself.

A case of "ops" is as in conv.py, with units: for each unit its samples, or null where all samples share the units. A case
of "layers": the list of layers, its parameters by name, x, the weights g of the checked scalar sum(y * g) + penalty,
the result y, the penalty and the gradients of that scalar for x and the parameters that have one.
"""

import json
import math
import os

import numpy as np
import torch

from conv import HERE, case, draw, packed  # the same form and the same drawing of numbers


def mask_of(batch, out, block, units):
    mask = np.zeros((batch, out))
    for unit, samples in units:
        mask[samples if samples is not None else slice(None), unit * block : (unit + 1) * block] = 1
    return torch.tensor(mask)


# batch, in, out, block, bias, [unit, its samples or None: all]
ROWS = [
    (5, 3, 7, 2, 1, [(0, [0, 2]), (2, [1, 2, 4]), (3, [3])]),
    (4, 6, 12, 4, 0, [(1, [0, 1, 2, 3])]),
    (3, 5, 16, 4, 1, [(0, None), (1, None), (3, None)]),
    (6, 4, 9, 4, 1, [(1, None), (2, None)]),
    (1, 8, 10, 1, 1, [(3, [0]), (4, [0]), (9, [0])]),
    (2, 3, 6, 3, 0, [(0, None), (1, None)]),
]


def rows_cases():
    for batch, inputs, out, block, bias, units in ROWS:
        mask = mask_of(batch, out, block, units)
        yield case(
            "linear_rows",
            {"block": block, "units": [u for u, _ in units], "samples": [s for _, s in units]},
            {"x": draw(batch, inputs), "weight": draw(out, inputs), "bias": draw(out) if bias else None},
            lambda t: (t["x"] @ t["weight"].T + t.get("bias", 0)) * mask,
        )


def take_cases():
    for shape, rows in (((4, 3), [2, 0, 2]), ((3, 2, 5), [1]), ((5, 1, 2, 2), [4, 3, 3, 3, 0, 1])):
        yield case("take_rows", {"rows": rows}, {"x": draw(*shape)}, lambda t: t["x"][rows])


# batch, units of the gate, shape of a result, [unit, its samples]
MIXES = [
    (3, 4, (5,), [(0, [0, 2]), (2, [2])]),
    (6, 3, (2, 7), [(0, [0, 1, 5]), (1, [1, 2, 3, 5]), (2, [0, 5])]),
    (1, 2, (1,), [(1, [0])]),
    (4, 2, (33,), [(0, [0, 1, 2, 3]), (1, [0, 1, 2, 3])]),
]


def mix_cases():
    def compute(t, batch, width, units):
        y = torch.zeros((batch,) + width, dtype=torch.float64)
        for k, (unit, samples) in enumerate(units):
            for i, sample in enumerate(samples):
                one = torch.zeros(batch, dtype=torch.float64)
                one[sample] = 1
                y = y + one.reshape((-1,) + (1,) * len(width)) * t["gate"][sample, unit] * t[f"part{k}"][i]
        return y

    for batch, count, width, units in MIXES:
        inputs = {f"part{k}": draw(len(samples), *width) for k, (_, samples) in enumerate(units)}
        inputs["gate"] = draw(batch, count)
        yield case(
            "mix_rows",
            {"units": [u for u, _ in units], "samples": [s for _, s in units]},
            inputs,
            lambda t: compute(t, batch, width, units),
        )


def layer_case(layers, x, params, compute, fixed=()):
    """compute(tensors, "x" among them) -> y, penalty. fixed: names of parameters without a gradient."""
    t = {name: torch.tensor(a, requires_grad=name not in fixed) for name, a in {"x": x, **params}.items()}
    y, penalty = compute(t)
    g = draw(*y.shape)
    ((y * torch.tensor(g)).sum() + penalty).backward()
    return {
        "layers": layers,
        "x": packed(x),
        "params": {name: packed(a) for name, a in params.items()},
        "g": packed(g),
        "y": packed(y.detach().numpy()),
        "penalty": float(penalty),
        "grads": {
            name: packed(np.zeros_like(v.detach()) if v.grad is None else v.grad.numpy())
            for name, v in t.items()
            if name not in fixed
        },
    }


def selector_cases():
    for batch, inputs, out, block, k, rank, per in ((5, 6, 18, 4, 2, 3, "sample"), (6, 4, 16, 2, 3, 5, "batch"), (3, 8, 9, 1, 4, 2, "sample")):
        units = (out + block - 1) // block
        params = {
            "selector1.weight": draw(out, inputs),
            "selector1.bias": draw(out),
            "selector1.sketch_in": draw(inputs, rank),
            "selector1.sketch_out": draw(rank, units),
        }

        def compute(t):
            score = (t["x"] @ t["selector1.sketch_in"] @ t["selector1.sketch_out"]).detach()
            if per == "batch":
                score = score.clamp(min=0).sum(0, keepdim=True).expand(batch, units)
            best = score.topk(k, 1).indices
            mask = mask_of(batch, out, block, [(int(u), [i]) for i in range(batch) for u in best[i]])
            return (t["x"] @ t["selector1.weight"].T + t["selector1.bias"]) * mask, torch.tensor(0.0)

        options = {"out": out, "block": block, "density": k / units, "rank": rank, "per": per}
        fixed = ("selector1.sketch_in", "selector1.sketch_out")
        yield layer_case([{"selector": options}], draw(batch, inputs), params, compute, fixed)


def experts_cases():
    # samples, d, experts, k, capacity, balance, hidden, out; two dimensions of samples: tokens
    for shape, d, experts, k, capacity, balance, hidden, out in (
        ((7,), 3, 4, 1, 0, 0.5, 2, 4),
        ((9,), 4, 3, 2, 0, 0.1, 3, 2),
        ((3, 4), 3, 5, 2, 1, 0.3, 2, 3),
        ((8,), 3, 2, 1, 0.5, 0, 2, 2),
        ((5,), 2, 3, 3, 0, 1, 2, 3),
    ):
        params = {"experts1.router": draw(experts, d)}
        for e in range(1, experts + 1):
            at = f"experts1.expert{e}.linear"
            params.update({f"{at}1.weight": draw(hidden, d), f"{at}1.bias": draw(hidden)})
            params.update({f"{at}2.weight": draw(out, hidden), f"{at}2.bias": draw(out)})

        def compute(t):
            x = t["x"].reshape(-1, d)
            n = len(x)
            p = torch.softmax(x @ t["experts1.router"].T, 1)
            chosen = torch.zeros(n, experts, dtype=torch.float64).scatter(1, p.topk(k, 1).indices, 1.0)
            penalty = balance * experts * (chosen.sum(0) / (n * k) * p.mean(0)).sum()
            if capacity:
                chosen = chosen * (chosen.cumsum(0) <= math.ceil(capacity * k * n / experts))
            y = 0
            for e in range(experts):
                at = f"experts1.expert{e + 1}.linear"
                h = torch.tanh(x @ t[f"{at}1.weight"].T + t[f"{at}1.bias"])
                y = y + (chosen * p)[:, e : e + 1] * (h @ t[f"{at}2.weight"].T + t[f"{at}2.bias"])
            return y.reshape(shape + (out,)), penalty

        options = {"experts": experts, "k": k, "capacity": capacity, "balance": balance}
        options["layers"] = [{"linear": {"out": hidden}}, "tanh", {"linear": {"out": out}}]
        yield layer_case([{"experts": options}], draw(*shape, d), params, compute)


def main():
    ops = [one for maker in (rows_cases, take_cases, mix_cases) for one in maker()]
    layers = [one for maker in (selector_cases, experts_cases) for one in maker()]
    made_by = f"tests/golden/conditional.py, torch {torch.__version__}, numpy {np.__version__}"
    lists = ",\n".join(
        f' "{name}": [\n' + ",\n".join("  " + json.dumps(one, separators=(",", ":")) for one in cases) + "\n ]"
        for name, cases in (("ops", ops), ("layers", layers))
    )
    text = "{\n" + f' "made_by": {json.dumps(made_by)},\n{lists}\n' + "}\n"
    assert len(json.loads(text)["ops"]) == len(ops)
    path = os.path.join(HERE, "conditional.json")
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
    print(f"{os.path.relpath(path)}: {len(ops)} ops, {len(layers)} layers, {len(text)} bytes")


if __name__ == "__main__":
    main()
