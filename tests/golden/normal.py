#!/usr/bin/python3
"""Prints the coefficients of curve_normal in src/curves.h.

For x >= 0 and t = 1 / (1 + 0.32 x) it looks for c1 .. c9 with 1 - Phi(x) = exp(-x^2 / 2) (c1 t + ... + c9 t^9), Phi the
normal distribution function, such that the largest relative error is small: least squares, again and again with more
weight where the error was large (Lawson 1961). Reference: scipy's erfcx.
"""

import numpy as np
from scipy.special import erfcx

DEGREE, SLOPE, END = 9, 0.32, 10


def powers(x):
    return np.vander(1 / (1 + SLOPE * x), DEGREE + 1, increasing=True)[:, 1:]


def wanted(x):
    return erfcx(x / np.sqrt(2)) / 2


def main():
    x = END * (0.5 - 0.5 * np.cos(np.pi * np.arange(300) / 299)) ** 1.5
    weight = np.ones_like(x) / x.size
    for _ in range(60):
        root = np.sqrt(weight)
        c = np.linalg.lstsq(powers(x) * (root / wanted(x))[:, None], root, rcond=None)[0]
        weight *= np.abs(powers(x) @ c / wanted(x) - 1) + 1e-12
        weight /= weight.sum()
    check = np.linspace(0, END, 100001)
    print(", ".join(f"{one:.9g}" for one in c))
    print(f"largest relative error: {np.abs(powers(check) @ c / wanted(check) - 1).max():.3g}")


if __name__ == "__main__":
    main()
