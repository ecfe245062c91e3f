"""Tally's side of tests/bench/run: the program, and the speed, memory and yardstick it reports."""
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile

import nets

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def quietly(command, **options):
    """Runs it, and says what it said only when it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode != 0:
        sys.exit(f"{done.stdout}tests/bench/run: {' '.join(command)} failed (exit {done.returncode})")
    return done.stdout


def program_build():
    """The path of an up-to-date Release build."""
    folder = os.path.join(ROOT, "build")
    if os.path.exists(os.path.join(folder, "CMakeCache.txt")):
        quietly(["cmake", "--build", folder, "--target", "tally"])
    else:
        print("building Tally", file=sys.stderr)
        quietly([os.path.join(ROOT, "bootstrap"), "--no-install"], cwd=ROOT)
    return os.path.join(folder, "tally")


def version(program):
    text = quietly([program, "--version"]).strip()
    if "-O3" not in text or "sanitizers" in text:
        sys.exit(f"tests/bench/run: {program} is no Release build: {text}")
    return text


def blas_path(program):
    """The OpenBLAS that the program is linked to."""
    lines = [line for line in quietly(["ldd", program]).splitlines() if "blas" in line]
    return os.path.realpath(lines[0].split("=>")[1].split("(")[0].strip()) if lines else "linked statically"


def machine(program, threads):
    """What tally bench --machine measures."""
    found = json.loads(quietly([program, "bench", "--machine", "--threads", str(threads), "--json"]))
    return {"blas": found["blas"], "gflops": found.get("gemms_gflops", found["gemm_gflops"])}


def train(program, config, threads, options=()):
    """Trains; (lines of metrics.jsonl, summary.json, kilobytes of the largest resident size)."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "run")
        command = [program, "train", config, "--threads", str(threads), "--quiet", "--no-report", "--out", out, *options]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as child:
            said = child.stdout.read()
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            sys.exit(f"{said}tests/bench/run: {' '.join(command)} failed (exit {child.returncode})")
        # Linux counts what a child had before it became the program too.
        if usage.ru_maxrss < resource.getrusage(resource.RUSAGE_SELF).ru_maxrss:
            sys.exit("tests/bench/run: this script is larger than Tally, so Tally's size is not known")
        with open(os.path.join(out, "metrics.jsonl")) as file:
            metrics = [json.loads(line) for line in file]
        with open(os.path.join(out, "summary.json")) as file:
            return metrics, json.load(file), usage.ru_maxrss


def rate(program, net, optimiser, threads, seconds, guess, folder):
    """Samples per second: the median of the epochs of about so many seconds, behind a first one, which makes step memory.

    `guess` is the rate as known so far; without one a short run finds it.
    """
    epochs = 1 + max(1, round(seconds * guess / net["count"])) if guess else 2
    metrics, summary, _ = train(program, nets.config_write(net, optimiser, epochs, folder), threads,
                                ["--data", folder])
    rates = [line["samples_per_second"] for line in metrics[1:]]
    return {"rate": statistics.median(rates), "parameters": summary["parameters"]}


def memory(program, optimiser):
    """(kilobytes, data set) of one epoch of 784-300-100-10 on MNIST, or on what configs/mnist-adam.json has instead of it."""
    weights, others = nets.OPTIMISERS[optimiser]
    net = nets.NETS["mlp"]
    _, summary, size = train(program, os.path.join(ROOT, "configs", "mnist-adam.json"), 1,
                             ["train.epochs=1", f"train.batch={net['batch']}", "model=" + json.dumps(net["model"]),
                              "optim.weights=" + json.dumps([weights]), "optim.others=" + json.dumps([others])])
    return size, summary["dataset"]
