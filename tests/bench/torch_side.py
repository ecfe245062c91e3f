"""PyTorch's side of tests/bench/run: a process that trains what it is told, a line of JSON for each question and answer.

usage: python3 torch_side.py THREADS   (tests/bench/run starts it)

Nets are built from Tally's lists of layers (nets.py). Where PyTorch has a choice, the faster is taken: gradients are dropped
instead of zeroed, the causal mask is added in the product of queries and keys.
"""
import ctypes
import json
import math
import os
import statistics
import sys
import time

import numpy
import torch
from torch import nn

import nets


class Attention(nn.Module):
    def __init__(self, length, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.register_buffer("mask", torch.full((length, length), -math.inf).triu(1))

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = (part.reshape(batch * self.heads, length, -1) for part in (q, k, v))
        scores = torch.baddbmm(self.mask, q, k.transpose(1, 2), alpha=1 / math.sqrt(q.shape[-1]))
        y = torch.bmm(torch.softmax(scores, -1), v).view(batch, self.heads, length, -1)
        return self.proj(y.transpose(1, 2).reshape(batch, length, width))


class Block(nn.Module):
    def __init__(self, length, width, heads):
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(width), Attention(length, width, heads))
        self.mlp = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        x = x + self.attention(x)
        return x + self.mlp(x)


class Positions(nn.Module):
    def __init__(self, length, width):
        super().__init__()
        self.weight = nn.Parameter(0.02 * torch.randn(length, width))

    def forward(self, x):
        return x + self.weight


def net_build(net):
    modules, shape = [], net["sample"]
    for layer in net["model"]:
        name, options = nets.name_options(layer)
        if name == "linear":
            modules.append(nn.Linear(shape[-1], options["out"]))
            shape = shape[:-1] + (options["out"],)
        elif name == "conv2d":
            modules.append(nn.Conv2d(shape[0], options["out"], options["kernel_size"]))
            shape = (options["out"],) + tuple(n - options["kernel_size"] + 1 for n in shape[1:])
        elif name == "max_pool2d":
            modules.append(nn.MaxPool2d(options["kernel_size"]))
            shape = (shape[0],) + tuple(n // options["kernel_size"] for n in shape[1:])
        elif name == "flatten":
            modules.append(nn.Flatten())
            shape = (math.prod(shape),)
        elif name == "embedding":
            modules.append(nn.Embedding(options["num_embeddings"], options["embedding_dim"]))
            shape = shape + (options["embedding_dim"],)
        else:
            make = {"relu": nn.ReLU, "layer_norm": lambda: nn.LayerNorm(shape[-1]), "positional_embedding":
                    lambda: Positions(*shape), "transformer_block": lambda: Block(*shape, options["heads"])}
            modules.append(make[name]())
    return nn.Sequential(*modules)


class Madam(torch.optim.Optimizer):
    """The rule of optim/madam.c, tensor by tensor and in place."""

    def __init__(self, params, lr, p_scale=3, beta=0.999, bound=10):
        super().__init__(params, {"lr": lr, "p_scale": p_scale, "beta": beta, "bound": bound})
        self.steps = 0

    @torch.no_grad()
    def step(self):
        self.steps += 1
        for group in self.param_groups:
            beta, bound = group["beta"], group["bound"]
            root = 1 / math.sqrt(1 - beta ** self.steps)
            for w in group["params"]:
                state = self.state[w]
                if not state:
                    state["v"] = torch.zeros_like(w)
                    state["w_max"] = group["p_scale"] * w.square().mean().sqrt().item()
                v = state["v"].mul_(beta).addcmul_(w.grad, w.grad, value=1 - beta)
                n = torch.div(w.grad, v.sqrt().mul_(root)).nan_to_num_(0).clamp_(-bound, bound)
                w.mul_(n.mul_(w.sign()).mul_(-group["lr"]).exp_()).clamp_(-state["w_max"], state["w_max"])


def optimisers_build(net, optimiser):
    made = []
    for stage, rank in zip(nets.OPTIMISERS[optimiser], (True, False)):
        name, options = nets.name_options(stage)
        params = [p for p in net.parameters() if (p.dim() >= 2) == rank]
        if name == "sgd":
            made.append(torch.optim.SGD(params, options["rate"], momentum=options["momentum"]))
        elif name in ("adam", "counter"):  # it has no counters: Adam, whose moments they use
            made.append(torch.optim.Adam(params, 0.001))
        else:
            made.append(Madam(params, options["rate"]))
    return made


def data_read(net, folder):
    """Samples and answers as tensors in memory, samples normalised beforehand."""
    if len(net["sample"]) == 1:
        with open(os.path.join(folder, "text.txt")) as file:
            tokens = torch.tensor([ord(letter) - ord("0") for letter in file.read()])
        windows = tokens[:net["count"] * nets.CONTEXT].view(-1, nets.CONTEXT)
        return windows, tokens[1:net["count"] * nets.CONTEXT + 1].view(-1, nets.CONTEXT)
    x = torch.from_numpy(numpy.load(os.path.join(folder, "x.npy"))).view(-1, *net["sample"]).float()
    return (x - x.mean()) / x.std(), torch.from_numpy(numpy.load(os.path.join(folder, "y.npy"))).long()


class Training:
    def __init__(self, net, optimiser, x, labels):
        torch.manual_seed(1)
        self.batch, self.x, self.labels = net["batch"], x, labels
        self.net = net_build(net)
        self.optimisers = optimisers_build(self.net, optimiser)
        self.loss = nn.CrossEntropyLoss()
        self.order, self.at = torch.randperm(len(x)), 0

    def step(self):
        if self.at + self.batch > len(self.order):
            self.order, self.at = torch.randperm(len(self.x)), 0
        index = self.order[self.at:self.at + self.batch]
        self.at += self.batch
        x = self.x[index]
        if x.dtype == torch.uint8:
            x = x.float().div_(255)
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        y = self.net(x)
        self.loss(y.view(-1, y.shape[-1]), self.labels[index].view(-1)).backward()
        for optimiser in self.optimisers:
            optimiser.step()

    def epoch(self, steps):
        """Samples per second of so many steps."""
        start = time.perf_counter()
        for _ in range(steps):
            self.step()
        return self.batch * steps / (time.perf_counter() - start)

    def rate(self, seconds):
        """Samples per second: the median of the epochs of about so many seconds, behind a first one."""
        steps, rates = len(self.x) // self.batch, []
        self.epoch(steps)
        start = time.perf_counter()
        while not rates or time.perf_counter() - start < seconds:
            rates.append(self.epoch(steps))
        return statistics.median(rates)


def rate(question):
    net = nets.NETS[question["net"]]
    training = Training(net, question["optimiser"], *data_read(net, question["folder"]))
    return {"rate": training.rate(question["seconds"]), "parameters": sum(p.numel() for p in training.net.parameters())}


def memory(question):
    """Kilobytes of the largest resident size, with MNIST's 70,000 images as bytes, an epoch long."""
    x, labels = torch.zeros(60000, 784, dtype=torch.uint8), torch.zeros(60000, dtype=torch.long)
    x.random_(256)
    test = torch.zeros(10000, 784, dtype=torch.uint8).random_(256)
    training = Training(nets.NETS["mlp"], question["optimiser"], x, labels)
    for _ in range(55000 // training.batch):
        training.step()
    with open("/proc/self/status") as status:
        kilobytes = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    return {"kilobytes": kilobytes, "images": len(x) + len(test)}


def about(question):
    """Version, threads and the BLAS that products go to."""
    torch.mm(torch.ones(64, 64), torch.ones(64, 64))
    with open("/proc/self/maps") as maps:
        paths = sorted({os.path.realpath(line.split()[-1]) for line in maps if "blas" in line.split()[-1].lower()})
    path = next((p for p in paths if "openblas" in os.path.basename(p)), None)
    blas, threads = ", ".join(paths) or "its own", None
    if path:
        library = ctypes.CDLL(path)
        library.openblas_get_config.restype = ctypes.c_char_p
        blas, threads = library.openblas_get_config().decode(), library.openblas_get_num_threads()
    return {"version": torch.__version__, "threads": torch.get_num_threads(), "interop": torch.get_num_interop_threads(),
            "blas": blas, "blas_threads": threads, "path": path}


def main():
    torch.set_num_threads(int(sys.argv[1]))
    torch.set_num_interop_threads(1)
    for line in sys.stdin:
        question = json.loads(line)
        answer = {"rate": rate, "memory": memory, "about": about}[question["what"]](question)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
