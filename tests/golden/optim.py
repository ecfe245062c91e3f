#!/usr/bin/env python3
"""Golden numbers of the optimisers, for tests/test_golden.c: python3 tests/golden/optim.py writes optim.json.

Ten steps on fixed gradients, in double. The reference of sgd, adam and adamw is torch.optim; madam, integer_madam,
counter and clip are written out here in numpy from their formulas (COUNTERS.md and the papers it names), not from the
C code. Every random decision is fixed by SEED. Each number is written with repr, so it is read back exactly.

Needs Python 3 with numpy and torch; made with the versions that the file names.
"""

import json
import math
import os

import numpy as np
import torch

SEED = 20240613
STEPS = 10
HERE = os.path.dirname(os.path.abspath(__file__))

# name, shape, bound of the initial values, magnitude of the gradients
PARAMS = [("a.weight", (4, 5), 0.5, 1.0), ("b.weight", (2, 3, 2), 0.2, 0.01), ("a.bias", (3,), 0.3, 1.0)]
MAGNITUDES = [1.0, 0.1, 10.0, 1e-3, 1.0, 0.0, 3.0, 1e-9, 30.0, 0.3]  # of the steps


def problem():
    """Initial values and gradients[step][param]: some zeros, one weight that never gets a gradient, one step without
    any, and a second tensor whose first step is all zero."""
    random = np.random.RandomState(SEED)
    start = [random.uniform(-bound, bound, shape) for _, shape, bound, _ in PARAMS]
    gradients = []
    for magnitude in MAGNITUDES:
        row = []
        for _, shape, _, scale in PARAMS:
            g = random.standard_normal(shape) * magnitude * scale
            g[random.uniform(size=shape) < 0.15] = 0
            row.append(g)
        gradients.append(row)
    gradients[0][1][:] = 0
    for row in gradients:
        row[0][1, 2] = 0
    return start, gradients


def rate_factor(schedule, step):
    """The schedule at the start of step 1 .. STEPS when a step is an epoch."""
    epoch = step - 1
    if schedule == "cosine":
        return (1 + math.cos(math.pi * epoch / STEPS)) / 2
    if schedule == "linear":
        return 1 - epoch / STEPS
    if schedule == "step":
        return 0.5 ** (epoch // 4)
    return 1.0


SCHEDULES = {"cosine": "cosine", "linear": "linear", "step": {"step": {"every": 4, "factor": 0.5}}}


def cap_norm(gradients, norm):
    """The gradients scaled so that their common norm is at most `norm`."""
    length = math.sqrt(sum(float((g * g).sum()) for g in gradients))
    return [g * (norm / length) for g in gradients] if length > norm else gradients


# --- floats -----------------------------------------------------------------------------------------------------------


def torch_case(name, config, make, schedule=None, norm=None):
    start, gradients = problem()
    tensors = [torch.tensor(w, dtype=torch.float64, requires_grad=True) for w in start]
    optimiser = make(tensors)
    rate = optimiser.param_groups[0]["lr"]
    values = [[] for _ in PARAMS]
    for step in range(1, STEPS + 1):
        optimiser.param_groups[0]["lr"] = rate * rate_factor(schedule, step)
        row = gradients[step - 1]
        if norm is not None:  # each list has a clip of its own
            row = cap_norm(row[:2], norm) + cap_norm(row[2:], norm)
        for tensor, g in zip(tensors, row):
            tensor.grad = torch.tensor(g, dtype=torch.float64)
        optimiser.step()
        for index, tensor in enumerate(tensors):
            values[index].append(tensor.detach().numpy().ravel().tolist())
    stages = [config] if norm is None else [{"clip": {"norm": norm}}, config]
    return case(name, stages, stages, schedule, [{"values": v} for v in values])


def case(name, weights, others, schedule, expected):
    config = {"weights": weights, "others": others}
    if schedule:
        config["schedule"] = SCHEDULES[schedule]
    return {"name": name, "config": config, "params": expected}


def normalised(g, v, beta, step, bound):
    """clip(g / sqrt(v / (1 - beta^step)), ±bound), 0/0 -> 0."""
    root = np.sqrt(v / (1 - beta**step))
    n = np.divide(g, root, out=np.zeros_like(g), where=root > 0)
    return np.clip(n, -bound, bound)


def madam_case(name, options, schedule=None):
    o = {"rate": 0.01, "p_scale": 3.0, "beta": 0.999, "bound": 10.0, **options}
    start, gradients = problem()
    expected = []
    for index in range(len(PARAMS)):
        w = start[index].copy()
        w_max = o["p_scale"] * math.sqrt(np.mean(w**2))
        v = np.zeros_like(w)
        values = []
        for step in range(1, STEPS + 1):
            g = gradients[step - 1][index]
            v = o["beta"] * v + (1 - o["beta"]) * g**2
            n = normalised(g, v, o["beta"], step, o["bound"])
            w = w * np.exp(-o["rate"] * rate_factor(schedule, step) * n * np.sign(w))
            w = np.clip(w, -w_max, w_max)
            values.append(w.ravel().tolist())
        expected.append({"values": values})
    config = [{"madam": options}]
    return case(name, config, config, schedule, expected)


# --- counters ---------------------------------------------------------------------------------------------------------


def half_free(x):
    """x, checked: nothing near a half, where a rounding error would decide."""
    assert np.all(np.abs(x - np.floor(x) - 0.5) > 1e-6), "a tie: choose other numbers"
    return x


def integer_madam_case(name, bits, base_rate, options, schedule=None):
    o = {"factor": 10.0, "p_scale": 3.0, "beta": 0.999, "bound": 10.0, **options}
    start, gradients = problem()
    random = np.random.RandomState(SEED + bits)
    levels = 2**bits
    expected = []
    for index in range(2):
        sign = np.where(start[index] < 0, -1, 1)
        w_max = o["p_scale"] * math.sqrt(np.mean(start[index] ** 2))
        k = random.randint(0, levels - 1, size=sign.shape)
        k.flat[0], k.flat[1] = 3, levels - 3  # near both ends
        first = sign * (k + 1)
        v = np.zeros(sign.shape)
        counters = []
        for step in range(1, STEPS + 1):
            g = gradients[step - 1][index]
            v = o["beta"] * v + (1 - o["beta"]) * g**2
            n = normalised(g, v, o["beta"], step, o["bound"])
            move = half_free(o["factor"] * rate_factor(schedule, step) * n)
            k = np.clip(k + np.rint(move).astype(int) * sign, 0, levels - 1)
            counters.append((sign * (k + 1)).ravel().tolist())
        last = sign * w_max * np.exp(-base_rate * k)
        expected.append(
            {"scale": w_max, "start": first.ravel().tolist(), "counters": counters, "last": last.ravel().tolist()}
        )
    return case(name, [{"integer_madam": {"bits": bits, **options}}], ["sgd"], schedule, expected)


class Map:
    """A number system: f(c), its slope, its inverse and its limit."""

    UNITS = {8: 32, 12: 256, 16: 1024, 32: 2**20}

    def __init__(self, name, bits, parameter):
        self.name, self.unit, self.limit = name, self.UNITS[bits], 2 ** (bits - 1) - 1
        self.p = parameter  # of power
        self.b = 4 / self.unit  # exp: the largest initial weight at e^4
        self.q = self.unit / 12  # pow2: 12 octaves
        # Where f has grown 2^40 times past the unit.
        if name == "exp":
            self.limit = min(self.limit, int(40 * math.log(2) / self.b + self.unit))
        if name == "pow2":
            self.limit = min(self.limit, int(40 * self.q + self.unit))

    def f(self, c):
        c = np.asarray(c, dtype=float)
        a, sign = np.abs(c), np.sign(c)
        if self.name == "square":
            return c * a
        if self.name == "power":
            return sign * a**self.p
        if self.name == "exp":
            return sign * np.expm1(self.b * a)
        if self.name == "pow2":
            return sign * 2 ** ((a - 1) / self.q)
        return c

    def slope(self, c):
        a = np.abs(np.asarray(c, dtype=float))
        if self.name == "square":
            return 2 * a
        if self.name == "power":
            return self.p * a ** (self.p - 1)
        if self.name == "exp":
            return self.b * np.exp(self.b * a)
        if self.name == "pow2":  # from 0 the slope of level 1
            return math.log(2) / self.q * 2 ** ((np.maximum(a, 1) - 1) / self.q)
        return np.ones_like(a)

    def inverse(self, value):
        a = np.abs(value)
        if self.name == "square":
            return np.sqrt(a)
        if self.name == "power":
            return a ** (1 / self.p)
        if self.name == "exp":
            return np.log1p(a) / self.b
        if self.name == "pow2":
            return np.where(a < 0.5, 0, np.where(a < 1, 1, 1 + self.q * np.log2(np.maximum(a, 1))))
        return a

    def power(self):
        return {"square": 2, "power": self.p}.get(self.name, 1)


class Counter:
    """One tensor of counters and its step, as COUNTERS.md has it, rounded to nearest."""

    def __init__(self, w, number, options):
        self.number = number
        self.o = {"leak": 0.0, "momentum": 0.9, "beta2": 0.999, "eps": 1e-8, **options}
        largest = np.abs(w).max()
        self.scale = largest / float(number.f(number.unit))
        self.k = largest ** (1 / number.power()) / number.unit  # of chain: one count of the mapped parameter
        c = np.floor(half_free(number.inverse(w / self.scale)) + 0.5)
        self.init = (np.sign(w) * np.minimum(c, number.limit)).astype(int)
        self.c = self.init.copy()
        self.c.flat[0], self.c.flat[1], self.c.flat[2] = 0, number.limit - 1, 1 - number.limit
        self.start = self.c.copy()
        self.m, self.v, self.square = np.zeros(w.shape), np.zeros(w.shape), 0.0

    def direction(self, g, step):
        o, kind = self.o, self.o["direction"]
        if kind == "sign":
            return np.sign(g)
        mean = g
        if o["momentum"] > 0:
            self.m = o["momentum"] * self.m + (1 - o["momentum"]) * g
            mean = self.m / (1 - o["momentum"] ** step)
        if kind == "momentum-sign":
            return np.sign(mean)
        if kind == "adam":
            self.v = o["beta2"] * self.v + (1 - o["beta2"]) * g**2
            return mean / (np.sqrt(self.v / (1 - o["beta2"] ** step)) + o["eps"])
        if kind == "tensor":
            self.square = o["beta2"] * self.square + (1 - o["beta2"]) * float(np.mean(g**2))
            rms = math.sqrt(self.square / (1 - o["beta2"] ** step))
            return mean / rms if rms > 0 else np.zeros_like(g)
        # chain: w = (scale / k^p) theta^p (p = 1 for exp and pow2), theta = k c; d theta = rate · dL/d theta
        return mean * self.number.slope(self.c) * self.scale / self.k**2

    def step(self, g, step, factor):
        rate = self.o["rate"] * factor
        counts = rate * (1 if self.o["direction"] == "chain" else self.number.unit)
        x = self.c - counts * self.direction(g, step)
        x = np.sign(x) * np.maximum(np.abs(x) - rate * self.number.unit * self.o["leak"], 0)
        inside = np.abs(x) < self.number.limit
        half_free(x[inside])
        self.c = np.clip(np.floor(x + 0.5), -self.number.limit, self.number.limit).astype(int)
        return self.c.ravel().tolist()


def counter_case(name, map_name, bits, options, schedule=None):
    start, gradients = problem()
    parameter = 3.0 if map_name == "power" else 0.0
    expected = []
    for index in range(2):
        tensor = Counter(start[index], Map(map_name, bits, parameter), options)
        counters = [
            tensor.step(gradients[step - 1][index], step, rate_factor(schedule, step)) for step in range(1, STEPS + 1)
        ]
        last = tensor.scale * tensor.number.f(tensor.c)
        expected.append(
            {
                "scale": tensor.scale,
                "init": tensor.init.ravel().tolist(),
                "start": tensor.start.ravel().tolist(),
                "counters": counters,
                "last": last.ravel().tolist(),
            }
        )
    config = {"map": map_name, "bits": bits, "rounding": "nearest", **options}
    if parameter:
        config["parameter"] = parameter
    return case(name, [{"counter": config}], ["sgd"], schedule, expected)


# --- the cases --------------------------------------------------------------------------------------------------------


def cases():
    sgd, adam, adamw = torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW
    yield torch_case("sgd plain", {"sgd": {"rate": 0.03, "momentum": 0}}, lambda w: sgd(w, lr=0.03))
    yield torch_case("sgd momentum", {"sgd": {"rate": 0.02}}, lambda w: sgd(w, lr=0.02, momentum=0.9))
    yield torch_case(
        "sgd nesterov",
        {"sgd": {"rate": 0.02, "momentum": 0.8, "weight_decay": 0.01, "nesterov": True}},
        lambda w: sgd(w, lr=0.02, momentum=0.8, weight_decay=0.01, nesterov=True),
    )
    decayed = {"sgd": {"rate": 0.03, "momentum": 0, "weight_decay": 0.1}}
    yield torch_case("sgd decay, step", decayed, lambda w: sgd(w, lr=0.03, weight_decay=0.1), schedule="step")
    yield torch_case("clip, sgd", {"sgd": {"rate": 0.02}}, lambda w: sgd(w, lr=0.02, momentum=0.9), norm=1.5)
    yield torch_case("adam", "adam", adam)
    options = {"rate": 0.02, "beta1": 0.8, "beta2": 0.99, "eps": 1e-6, "weight_decay": 0.05}
    same = {"lr": 0.02, "betas": (0.8, 0.99), "eps": 1e-6, "weight_decay": 0.05}
    yield torch_case("adam, all options", {"adam": options}, lambda w: adam(w, **same))
    yield torch_case("adamw", "adamw", adamw)
    yield torch_case("adamw, all options", {"adamw": options}, lambda w: adamw(w, **same), schedule="cosine")
    yield madam_case("madam", {})
    yield madam_case("madam at its limits", {"rate": 0.4, "p_scale": 1.5, "beta": 0.99, "bound": 1.3}, "linear")
    for bits, base_rate in ((12, 0.001), (10, 0.004), (8, 0.01)):
        yield integer_madam_case(f"integer madam {bits}", bits, base_rate, {})
    options = {"base_rate": 0.02, "factor": 37.0, "p_scale": 2.0, "beta": 0.99, "bound": 1.2}
    yield integer_madam_case("integer madam, all options", 8, 0.02, options, "cosine")

    directions = {
        "sign": {"direction": "sign"},
        "momentum-sign": {"direction": "momentum-sign"},
        "adam": {"direction": "adam"},
        "tensor": {"direction": "tensor"},
        "tensor, no momentum": {"direction": "tensor", "momentum": 0},
    }
    for bits in (16, 8):
        normal = {"rate": 0.0213, "leak": 0.217} if bits == 16 else {"rate": 0.0713, "leak": 0.317}
        directions["chain"] = {"direction": "chain", "rate": 0.003 if bits == 16 else 0.043, "leak": 0.02}
        for map_name in ("linear", "square", "power", "exp", "pow2"):
            for direction, options in directions.items():
                yield counter_case(f"counter {map_name} {bits} {direction}", map_name, bits, {**normal, **options})
    plain = {"direction": "adam", "rate": 0.0213}
    yield counter_case("counter square 12", "square", 12, {**plain, "leak": 0.1})
    yield counter_case("counter square 32", "square", 32, {**plain, "leak": 0.1})
    yield counter_case("counter without leak", "square", 16, plain)
    yield counter_case("counter adam without momentum", "square", 16, {**plain, "momentum": 0})
    options = {"rate": 0.0513, "leak": 0.117, "momentum": 0.7, "beta2": 0.97, "eps": 0.01}
    yield counter_case("counter, all options", "square", 16, {"direction": "adam", **options}, "cosine")


def rows(value, depth):
    """JSON with every list of numbers on a line of its own."""
    pad = " " * depth
    if isinstance(value, dict) and depth < 4:
        inner = ",\n".join(f"{pad} {json.dumps(k)}: {rows(v, depth + 1)}" for k, v in value.items())
        return "{\n" + inner + "\n" + pad + "}"
    if isinstance(value, list) and value and isinstance(value[0], (list, dict)) and depth < 6:
        return "[\n" + ",\n".join(pad + " " + rows(v, depth + 1) for v in value) + "\n" + pad + "]"
    return json.dumps(value, separators=(",", ":"))


def main():
    start, gradients = problem()
    golden = {
        "made_by": f"tests/golden/optim.py, torch {torch.__version__}, numpy {np.__version__}",
        "params": [
            {"name": name, "shape": list(shape), "start": start[index].ravel().tolist()}
            for index, (name, shape, _, _) in enumerate(PARAMS)
        ],
        "gradients": [[g.ravel().tolist() for g in row] for row in gradients],
        "cases": list(cases()),
    }
    text = rows(golden, 0) + "\n"
    assert json.loads(text) == golden
    path = os.path.join(HERE, "optim.json")
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
    print(f"{os.path.relpath(path)}: {len(golden['cases'])} cases, {len(text)} bytes")


if __name__ == "__main__":
    main()
