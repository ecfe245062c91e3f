#!/usr/bin/env python3
"""Makes the seeds of the targets npy, png, safetensors, idx and json, small files of every kind that they read.

usage: tests/fuzz/seeds.py [FOLDER]      default: tests/fuzz/corpus

Written from the formats' descriptions with Python's standard library alone, apart from Tally's own writers. The seeds of
the target model come from seeds.c.
"""
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
    deflate = zlib.compressobj(9, zlib.DEFLATED, 31)
    yield "gzip", bytes([2]) + deflate.compress(idx(2, 8, 8)) + deflate.flush()


def json_seeds():
    config = {"name": "a", "seed": 1, "data": {"set": {"digits": {"train": 100}}, "fallback": "mnist", "folder": "d",
              "validation": 10, "normalise": True}, "model": ["flatten", {"linear": {"out": 10}}],
              "optim": {"weights": ["counter"], "others": ["adam"]}, "train": {"epochs": 2, "batch": 64, "shards": 2}}
    yield "config", json.dumps(config, indent=2).encode()
    yield "config-small", b'{"data":{"set":"digits"},"model":[],"optim":{}}'
    yield "words", b'[null,true,false,-0.0,1e-300,12345678901234567890,0.1,"\\u00e9\\ud83d\\ude00\\n\\"\\\\\\/"]'
    yield "nested", b"[" * 60 + b"{}" + b"]" * 60
    yield "keys", b'{"":1,"A":2,"a":3,"a.b":{"0":[]}}'
    yield "utf8", '"é 😀 \x7f"'.encode()


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")
    for target, seeds in (("npy", npy_seeds), ("png", png_seeds), ("safetensors", safetensors_seeds), ("idx", idx_seeds),
                          ("json", json_seeds)):
        os.makedirs(os.path.join(folder, target), exist_ok=True)
        for name, content in seeds():
            with open(os.path.join(folder, target, name), "wb") as f:
                f.write(content)


if __name__ == "__main__":
    main()
