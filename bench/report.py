"""Results as a table for the terminal, as JSON, and as a chart."""

from __future__ import annotations

import json
import math
from pathlib import Path

__all__ = ["chart", "contenders", "geometric_mean", "markdown", "number", "save", "table"]


def number(value):
    """Three digits, thousands separated."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 10 else f"{value:.1f}"


def _align(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(w) if i == 0 else cell.rjust(w)
                  for i, (cell, w) in enumerate(zip(row, widths, strict=True))).rstrip()
        for row in rows
    ]


def contenders(rows):
    """Names of all contenders, ours first, in the order of their first appearance."""
    names = dict.fromkeys(name for row in rows for name in row["ours"])
    names.update(dict.fromkeys(name for row in rows for name in row["seconds"]))
    return list(names)


def table(rows, subject):
    """The table of one subject.

    Parameters
    ----------
    rows : list of dict
        As `cases.measure` makes them.
    subject : module
    """
    names = contenders(rows)
    factor = 1e3 if subject.UNIT == "ms" else 1e6
    cells = [["", *names, "fastest peer / ours", "rate", "of limit", "round trip"]]
    for row in rows:
        line = [row["workload"]]
        line += [number(row["seconds"][n] * factor) if n in row["seconds"] else "–" for n in names]
        ratios = " and ".join(f"{value:.2f}" for value in row["ratio"].values())
        line.append(f"{ratios} ({row['fastest_peer']})" if ratios else "–")
        for key, limit, unit in (("gflops", "of_peak_gflops", "GFLOP/s"),
                                 ("gbytes_per_s", "of_copy_gbytes", "GB/s")):
            if key in row:
                line += [f"{number(row[key])} {unit}", f"{row[limit]:.0%}"]
        line += ["–"] * (len(cells[0]) - 1 - len(line))
        trips = row["round_trip_ns"]
        line.append(f"{min(trips):.0f}–{max(trips):.0f} ns" if trips else "–")
        cells.append(line)
    lines = [f"{subject.TITLE}, {subject.UNIT}, medians", *_align(cells)]
    for row in rows:
        if "installed_mb" in row:
            sizes = ", ".join(f"{name} {'editable' if size is None else f'{size:.1f}'}"
                              for name, size in row["installed_mb"].items())
            lines.append(f"installed size, MB: {sizes}")
    mean = geometric_mean(rows, subject)
    if mean is not None:
        lines.append(f"geometric mean of {', '.join(subject.HEADLINE)}: {mean:.2f}")
    worst = {}
    for row in rows:
        if row["tolerance"] > 1e-3:  # other random numbers, so no float difference
            continue
        for name, error in row["errors"].items():
            worst[name] = max(worst.get(name, 0.0), error)
    if worst:
        lines.append("largest relative difference from float64: "
                     + ", ".join(f"{name} {error:.1g}" for name, error in worst.items()))
    reasons = {}
    for row in rows:
        for name, reason in row["absent"].items():
            reasons.setdefault((name, reason), []).append(row["workload"])
    lines += [f"{name} not in {'; '.join(where)}: {reason}"
              for (name, reason), where in reasons.items()]
    return "\n".join(lines)


def geometric_mean(rows, subject):
    """Mean ratio over the subject's headline workloads; None unless all of them were run."""
    ratios = {row["workload"]: max(row["ratio"].values(), default=0) for row in rows}
    chosen = [ratios.get(name, 0) for name in subject.HEADLINE]
    if not chosen or not all(chosen):
        return None
    return math.exp(sum(map(math.log, chosen)) / len(chosen))


def markdown(rows, subject):
    """The medians and ratios as a Markdown table, for the README."""
    names = contenders(rows)
    factor = 1e3 if subject.UNIT == "ms" else 1e6
    cells = [[f"{subject.TITLE.lower()}, {subject.UNIT}", *names, "fastest peer ÷ ours"],
             ["---", *["--:" for _ in names], "--:"]]
    for row in rows:
        line = [f"{row['workload']}: {row['note']}"]
        fastest = row["fastest_peer"]
        for name in names:
            text = number(row["seconds"][name] * factor) if name in row["seconds"] else "–"
            line.append(f"**{text}**" if name == fastest else text)
        line.append(" and ".join(f"{value:.2f}" for value in row["ratio"].values()) or "–")
        cells.append(line)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def save(path, subject_name, rows, **facts):
    """Write everything, every single turn included, as JSON."""
    content = {"subject": subject_name, **facts, "rows": rows}
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")


def chart(path, rows, subject):
    """Bars of how many times longer than ours everyone takes; needs matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("A chart needs matplotlib: pip install matplotlib") from None
    rows = [row for row in rows if row["ours"]]
    names = contenders(rows)
    height = 0.8 / len(names)
    figure = Figure(figsize=(9, 1.2 + 0.22 * len(names) * len(rows)), layout="constrained")
    axes = figure.subplots()
    for k, name in enumerate(names):
        places, lengths = [], []
        for i, row in enumerate(rows):
            if name in row["seconds"]:
                places.append(i + (k - (len(names) - 1) / 2) * height)
                lengths.append(row["seconds"][name] / row["seconds"][row["ours"][0]])
        bars = axes.barh(places, lengths, height * 0.95, left=0, label=name, color=f"C{k % 10}")
        axes.bar_label(bars, [number(value) for value in lengths], padding=2, fontsize=7)
    axes.set_yticks(range(len(rows)), [f"{row['workload']}\n{row['note']}" for row in rows],
                    fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.margins(x=0.12, y=0.01)  # room for the numbers
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel(f"{subject.UNIT}, relative to {rows[0]['ours'][0]} (lower is faster)")
    axes.set_title(subject.TITLE)
    figure.legend(fontsize=8, loc="outside lower center", ncols=min(len(names), 5))
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
