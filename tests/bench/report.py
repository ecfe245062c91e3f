"""What tests/bench/run says: tables of ratios, a chart."""
import subprocess
import sys
from statistics import median

import nets


def ratio_text(ratios):
    return f"{median(ratios):.2f} | {min(ratios):.2f}..{max(ratios):.2f}"


def rates(rounds, side):
    return [r[side]["rate"] for r in rounds]


def torch_ratios(case):
    return [r["tally"]["rate"] / r["torch"]["rate"] for r in case["rounds"]]


def roofline_shares(case):
    """Of the rate that the step's matrix products alone would allow."""
    net = nets.NETS[case["net"]]
    flops = nets.step_flops(net) / net["batch"]
    return [r["tally"]["rate"] * flops / 1e9 / r["gflops"] for r in case["rounds"]]


def case_find(cases, net, optimiser, threads):
    return next((c for c in cases if (c["net"], c["optimiser"], c["threads"]) == (net, optimiser, threads)), None)


def pairwise(cases, case, optimiser, threads):
    """Ratios of the case's rates to another case's of the same rounds; None where that was not measured."""
    other = case_find(cases, case["net"], optimiser, threads)
    if not other or other is case:
        return None
    return [a / b for a, b in zip(rates(case["rounds"], "tally"), rates(other["rounds"], "tally"))]


def table(title, heads, rows):
    if not rows:
        return ""
    lines = [title, "", "| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def name_cells(case):
    return [nets.NETS[case["net"]]["title"], case["optimiser"]]


def torch_name(optimiser):
    return "counter, there adam" if optimiser == "counter" else optimiser


def torch_table(cases):
    rows = []
    for case in cases:
        if "torch" not in case["rounds"][0]:
            continue
        speeds = [f"{median(rates(case['rounds'], side)):.0f}" for side in ("tally", "torch")]
        rows.append([nets.NETS[case["net"]]["title"], torch_name(case["optimiser"]), str(case["threads"]), *speeds,
                     str(case["torch_threads"]), ratio_text(torch_ratios(case))])
    return table("Tally against PyTorch, samples per second",
                 ["net", "optimiser", "threads", "Tally", "PyTorch", "its threads", "Tally / PyTorch", "min..max"], rows)


def roofline_table(cases):
    rows = []
    for case in cases:
        net = nets.NETS[case["net"]]
        rows.append(name_cells(case) + [str(case["threads"]), f"{nets.step_flops(net) / 1e6:.0f}",
                    f"{1e3 * net['batch'] / median(rates(case['rounds'], 'tally')):.2f}",
                    f"{median([r['gflops'] for r in case['rounds']]):.0f}", ratio_text(roofline_shares(case))])
    return table("Tally against the machine: what the matrix products of a step take at OpenBLAS's best rate, as a share of "
                 "the step",
                 ["net", "optimiser", "threads", "MFLOP a step", "ms a step", "best GFLOP/s", "share",
                  "min..max"], rows)


def threads_table(cases, threads):
    rows = []
    for case in cases:
        ratios = pairwise(cases, case, case["optimiser"], threads[0])
        if ratios and case["threads"] != threads[0]:
            rows.append(name_cells(case) + [f"{case['threads']} / {threads[0]}", ratio_text(ratios)])
    return table("Tally on several threads against itself", ["net", "optimiser", "threads", "speed", "min..max"], rows)


def counter_table(cases):
    rows = []
    for case in cases:
        ratios = pairwise(cases, case, "adam", case["threads"]) if case["optimiser"] == "counter" else None
        if ratios:
            rows.append([nets.NETS[case["net"]]["title"], str(case["threads"]), ratio_text(ratios)])
    return table("Counters against Tally's own Adam", ["net", "threads", "counter / adam", "min..max"], rows)


def memory_table(memory):
    rows = []
    for row in memory:
        theirs = row.get("torch")
        cells = ["", " | "]
        if theirs:
            cells = [f"{median(theirs) / 1024:.0f}", ratio_text([a / b for a, b in zip(row["tally"], theirs)])]
        rows.append([row["dataset"], row["optimiser"], f"{median(row['tally']) / 1024:.0f}"] + cells)
    return table("Largest resident size of a training process, 784-300-100-10 for an epoch, images in memory as bytes on "
                 "both sides",
                 ["data", "optimiser", "Tally, MB", "PyTorch, MB", "Tally / PyTorch", "min..max"], rows)


def tables(result):
    cases = result["cases"]
    parts = [torch_table(cases), counter_table(cases), roofline_table(cases), threads_table(cases, result["threads"]),
             memory_table(result["memory"])]
    return "\n".join(part for part in parts if part)


def about_text(about):
    lines = [f"{about['date']}, {about['machine']}, load {about['load_before']} before and {about['load_after']} after",
             f"{about['tally']}; {about['tally_blas']}, one thread for each shard ({about['tally_blas_path']})"]
    for torch in about["torch"]:
        lines.append(f"PyTorch {torch['version']}, {torch['threads']} thread(s), {torch['interop']} between operations; "
                     f"{torch['blas']}, {torch['blas_threads']} thread(s) ({torch['path']})")
    if not about["torch"]:
        lines.append("no PyTorch: give a python3 that has it by --python (Debian: python3-torch)")
    lines.append(f"ratios are medians of {about['pairs']} pairs of about {about['seconds']} s a side, in turn; float32; only "
                 "training steps count: gathering the batch, forward, backward, update")
    return "\n".join(lines)


# --- the chart ---------------------------------------------------------------------------------------------------------


def chart(result, path):
    """Ratios to PyTorch, a mark for each case with a bar from the least to the largest, by gnuplot."""
    cases = [case for case in result["cases"] if "torch" in case["rounds"][0]]
    if not cases:
        sys.exit("tests/bench/run: --chart: nothing was measured against PyTorch")
    places = list(dict.fromkeys((case["net"], case["optimiser"]) for case in cases))
    blocks, plots = [], []
    for i, threads in enumerate(result["threads"]):
        rows = []
        for case in cases:
            if case["threads"] == threads:
                ratios = torch_ratios(case)
                place = places.index((case["net"], case["optimiser"])) + 0.2 * (i - (len(result["threads"]) - 1) / 2)
                rows.append(f"{place:.2f} {median(ratios):.4f} {min(ratios):.4f} {max(ratios):.4f}")
        blocks.append(f"$t{threads} << EOD\n" + "\n".join(rows) + "\nEOD\n")
        plots.append(f"$t{threads} using 1:2:3:4 with yerrorbars pointtype {5 + 2 * i} title "
                     f"'{threads} thread{'s' if threads > 1 else ''}'")
    marks = ", ".join(f"'{nets.NETS[net]['title']} {optimiser}' {i}" for i, (net, optimiser) in enumerate(places))
    terminal = "pngcairo size 1000,560" if path.endswith(".png") else "svg size 1000,560 background 'white'"
    script = "".join(blocks) + f"""set terminal {terminal} font 'sans,11'
set output '{path}'
set title 'Samples per second, Tally / PyTorch {result['about']['torch'][0]['version']}'
set xtics rotate by -40 ({marks})
set xrange [-0.6:{len(places) - 0.4}]
set yrange [{0.9 * min(1, *(min(torch_ratios(case)) for case in cases)):.3f}:*]
set logscale y 2
set grid ytics
set key outside top center horizontal
plot 1 with lines linecolor 'black' title 'as fast', {', '.join(plots)}
"""
    try:
        subprocess.run(["gnuplot"], input=script, text=True, check=True)
    except FileNotFoundError:
        sys.exit("tests/bench/run: --chart: there is no gnuplot")
    except subprocess.CalledProcessError as error:
        sys.exit(f"tests/bench/run: --chart: gnuplot failed (exit {error.returncode})")
