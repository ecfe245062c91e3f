#!/usr/bin/python3
"""Makes transformer.json: embeddings, linear by position, gelu, attention; whole attention and transformer_block layers.

Reference: torch in double (Debian: python3-torch). Ops: its functions; attention with windows and top-k is written here
from the formulas on torch's autograd, since torch 1.13 has no public function for it. Layers: torch's own
MultiheadAttention and TransformerEncoderLayer(norm_first=True); torch has no rms norm, so the block with it is composed
here. Run it from anywhere; it writes beside itself.

A case: the op or the layers (as a model's config), options, inputs by name (of layers: x and the parameters), the weights
g of the checked scalar sum(y * g), the result y, and the gradients of that scalar for each differentiable input.
"""

import json
import math
import os

import numpy as np
import torch
import torch.nn.functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
random = np.random.RandomState(20261126)


def draw(*shape, scale=1.0, shift=0.0):
    """Numbers with few digits, which keeps the file small."""
    return np.round(random.standard_normal(shape) * scale + shift, 3)


def tensor(array, grad=True):
    return torch.tensor(array, dtype=torch.float64, requires_grad=grad)


def packed(array):
    array = np.asarray(array, dtype=float)
    return {"shape": list(array.shape), "values": [float(f"{v:.15g}") for v in array.ravel()]}


def case(head, inputs, compute, constant=()):
    """inputs: name -> array. compute(tensors) -> y. `constant` names those without a gradient."""
    tensors = {name: tensor(array, name not in constant) for name, array in inputs.items()}
    y = compute(tensors)
    g = draw(*y.shape)
    (y * tensor(g, False)).sum().backward()
    return {
        **head,
        "inputs": {name: packed(t.detach().numpy()) for name, t in tensors.items()},
        "g": packed(g),
        "y": packed(y.detach().numpy()),
        "grads": {name: packed(t.grad.numpy()) for name, t in tensors.items() if t.requires_grad},
    }


def embedding_cases():
    for shape, n, d in (((2, 3), 5, 4), ((1, 9), 3, 1), ((4, 5), 30, 7), ((6,), 4, 2)):
        tokens = random.randint(0, n, size=shape)
        inputs = {"x": tokens, "weight": draw(n, d)}
        yield case(
            {"op": "embedding"}, inputs, lambda t: F.embedding(t["x"].long(), t["weight"]), constant=("x",)
        )


def positional_embedding_cases():
    for shape in ((2, 3, 4), (1, 5, 1), (3, 2, 9)):
        inputs = {"x": draw(*shape), "weight": draw(*shape[1:])}
        yield case({"op": "positional_embedding"}, inputs, lambda t: t["x"] + t["weight"])


def linear_cases():
    for shape, out, bias in (((2, 3, 4), 5, True), ((3, 1, 7), 2, False), ((2, 2, 3, 5), 4, True)):
        inputs = {"x": draw(*shape), "weight": draw(out, shape[-1])}
        if bias:
            inputs["bias"] = draw(out)
        yield case({"op": "linear"}, inputs, lambda t: F.linear(t["x"], t["weight"], t.get("bias")))


def gelu_cases():
    for shape, scale in (((2, 3), 1), ((3, 4, 5), 3), ((2, 30), 6)):
        yield case({"op": "gelu"}, {"x": draw(*shape, scale=scale)}, lambda t: F.gelu(t["x"]))


def attention(qkv, heads, causal, window, topk):
    batch, length, three_d = qkv.shape
    q, k, v = (part.view(batch, length, heads, -1).transpose(1, 2) for part in qkv.split(three_d // 3, dim=2))
    scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
    i, j = np.arange(length)[:, None], np.arange(length)[None, :]
    seen = np.broadcast_to((j <= i) | (not causal), (length, length)) & ((j > i - window) | (window == 0))
    mask = np.broadcast_to(seen, scores.shape).copy()
    if topk:
        hidden = np.where(mask, scores.detach().numpy(), -np.inf)
        best = np.argsort(-hidden, axis=-1, kind="stable")[..., :topk]
        among = np.zeros_like(mask)
        np.put_along_axis(among, best, True, axis=-1)
        mask &= among
    p = torch.softmax(scores.masked_fill(torch.tensor(~mask), -math.inf), -1)
    return (p @ v).transpose(1, 2).reshape(batch, length, three_d // 3)


def attention_cases():
    for batch, length, d, heads, causal, window, topk in (
        (2, 5, 8, 2, False, 0, 0),
        (2, 6, 6, 3, True, 0, 0),
        (1, 1, 4, 1, True, 0, 0),
        (2, 7, 4, 2, True, 3, 0),
        (1, 9, 6, 2, False, 0, 4),
        (2, 8, 4, 1, True, 5, 2),
        (1, 70, 2, 1, True, 0, 0),
        (1, 131, 2, 2, True, 66, 9),
        (1, 66, 4, 2, False, 0, 3),
    ):
        options = {"heads": heads, "causal": causal, "window": window, "topk": topk}
        yield case(
            {"op": "attention", "options": options},
            {"x": draw(batch, length, 3 * d)},
            lambda t: attention(t["x"], heads, causal, window, topk),
        )


def unseen(length):
    """torch's mask: True is not seen."""
    return torch.ones(length, length, dtype=torch.bool).triu(1)


def attention_layer_cases():
    for batch, length, d, heads, causal, bias in ((2, 5, 6, 2, False, True), (1, 7, 4, 4, True, True), (3, 4, 6, 3, True, False)):
        inputs = {"x": draw(batch, length, d), "attention1.qkv.weight": draw(3 * d, d, scale=0.5)}
        if bias:
            inputs["attention1.qkv.bias"] = draw(3 * d, scale=0.2)
        inputs["attention1.proj.weight"] = draw(d, d, scale=0.5)
        if bias:
            inputs["attention1.proj.bias"] = draw(d, scale=0.2)

        def compute(t):
            x = t["x"].transpose(0, 1)  # torch: (T, B, d)
            y, _ = F.multi_head_attention_forward(
                x, x, x, d, heads, t["attention1.qkv.weight"], t.get("attention1.qkv.bias"), None, None, False, 0.0,
                t["attention1.proj.weight"], t.get("attention1.proj.bias"), need_weights=False,
                attn_mask=unseen(length) if causal else None,
            )
            return y.transpose(0, 1)

        layers = [{"attention": {"heads": heads, "causal": causal, "bias": bias}}]
        yield case({"layers": layers}, inputs, compute)


TORCH_NAMES = {
    "layer_norm1.weight": "norm1.weight",
    "layer_norm1.bias": "norm1.bias",
    "attention1.qkv.weight": "self_attn.in_proj_weight",
    "attention1.qkv.bias": "self_attn.in_proj_bias",
    "attention1.proj.weight": "self_attn.out_proj.weight",
    "attention1.proj.bias": "self_attn.out_proj.bias",
    "mlp.layer_norm1.weight": "norm2.weight",
    "mlp.layer_norm1.bias": "norm2.bias",
    "mlp.linear1.weight": "linear1.weight",
    "mlp.linear1.bias": "linear1.bias",
    "mlp.linear2.weight": "linear2.weight",
    "mlp.linear2.bias": "linear2.bias",
}


def block_cases():
    for batch, length, d, heads, ratio, activation, causal in (
        (2, 4, 4, 2, 4, "gelu", True),
        (1, 6, 6, 3, 1.5, "relu", False),
        (3, 3, 4, 1, 2, "gelu", False),
    ):
        inner = round(d * ratio)
        block = torch.nn.TransformerEncoderLayer(
            d, heads, inner, dropout=0.0, activation=activation, layer_norm_eps=1e-5, batch_first=True, norm_first=True
        ).double()
        shapes = {name: tuple(p.shape) for name, p in block.named_parameters()}
        inputs = {"x": draw(batch, length, d)}
        for name, torch_name in TORCH_NAMES.items():
            shift = 1 if "norm" in name and name.endswith("weight") else 0
            inputs["transformer_block1." + name] = draw(*shapes[torch_name], scale=0.4, shift=shift)

        def compute(t):
            named = {torch_name: t["transformer_block1." + name] for name, torch_name in TORCH_NAMES.items()}
            mask = unseen(length) if causal else None
            return torch.nn.utils.stateless.functional_call(block, named, (t["x"], mask))

        options = {"heads": heads, "mlp_ratio": ratio, "activation": activation, "causal": causal}
        yield case({"layers": [{"transformer_block": options}]}, inputs, compute)


def rms_block_cases():
    batch, length, d, heads, inner = 2, 6, 4, 2, 8
    shapes = {
        "rms_norm1.weight": (d,),
        "attention1.qkv.weight": (3 * d, d),
        "attention1.proj.weight": (d, d),
        "mlp.rms_norm1.weight": (d,),
        "mlp.linear1.weight": (inner, d),
        "mlp.linear2.weight": (d, inner),
    }
    inputs = {"x": draw(batch, length, d)}
    for name, shape in shapes.items():
        inputs["transformer_block1." + name] = draw(*shape, scale=0.4, shift=float("norm" in name))

    def norm(x, weight):
        return x * torch.rsqrt((x**2).mean(-1, keepdim=True) + 1e-6) * weight

    def compute(t):
        p = {name: t["transformer_block1." + name] for name in shapes}
        x = t["x"]
        qkv = norm(x, p["rms_norm1.weight"]) @ p["attention1.qkv.weight"].T
        x = x + attention(qkv, heads, True, 4, 2) @ p["attention1.proj.weight"].T
        h = F.silu(norm(x, p["mlp.rms_norm1.weight"]) @ p["mlp.linear1.weight"].T)
        return x + h @ p["mlp.linear2.weight"].T

    options = {"heads": heads, "mlp_ratio": 2, "activation": "silu", "norm": "rms_norm", "causal": True}
    options.update({"window": 4, "topk": 2, "bias": False})
    yield case({"layers": [{"transformer_block": options}]}, inputs, compute)


def main():
    makers = (
        embedding_cases,
        positional_embedding_cases,
        linear_cases,
        gelu_cases,
        attention_cases,
        attention_layer_cases,
        block_cases,
        rms_block_cases,
    )
    cases = [one for maker in makers for one in maker()]
    made_by = f"tests/golden/transformer.py, torch {torch.__version__}, numpy {np.__version__}"
    rows = ",\n".join("  " + json.dumps(one, separators=(",", ":")) for one in cases)
    text = "{\n" + f' "made_by": {json.dumps(made_by)},\n "cases": [\n{rows}\n ]\n' + "}\n"
    assert len(json.loads(text)["cases"]) == len(cases)
    path = os.path.join(HERE, "transformer.json")
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
    print(f"{os.path.relpath(path)}: {len(cases)} cases, {len(text)} bytes")


if __name__ == "__main__":
    main()
