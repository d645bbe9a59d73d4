"""What was measured, as a page: ``bench/gpu/RESULTS.md``."""

from __future__ import annotations

from pathlib import Path

from ..report import contenders, number

__all__ = ["PAGE", "markdown", "save"]

PAGE = Path(__file__).with_name("RESULTS.md")


def markdown(rows, subject):
    """The table of one subject: times, ratios to the fastest peer, rates and shares of limits."""
    names = contenders(rows)
    factor = 1e3 if subject.UNIT == "ms" else 1e6
    lines = [["", *names, "fastest peer ÷ ours", "rate", "of limit"],
             ["---", *["--:" for _ in range(len(names) + 3)]]]
    for row in rows:
        line = [f"{row['workload']}: {row['note']}"]
        line += [number(row["seconds"][name] * factor) if name in row["seconds"]
                 else "wrong" if row["absent"].get(name, "").startswith("WRONG") else "–"
                 for name in names]
        line.append(" and ".join(f"{value:.2f}" for value in row["ratio"].values()) or "–")
        for key, limit, unit in (("gflops", "of_peak_gflops", "GFLOP/s"),
                                 ("gbytes_per_s", "of_copy_gbytes", "GB/s")):
            if key in row:
                line += [f"{number(row[key])} {unit}", f"{row[limit]:.0%}"]
        line += ["–"] * (len(names) + 4 - len(line))
        lines.append(line)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def save(path, parts, facts, versions):
    """Write the page: date, device, versions, then a table for each (subject, rows)."""
    text = ["# Measured on a GPU", "",
            "Written by `python -m bench gpu --results`; nothing here was typed by hand.", ""]
    text += [f"- {name.replace('_', ' ')}: {value}" for name, value in facts.items()]
    text.append("- versions: " + ", ".join(f"{name} {number}" for name, number in versions.items()))
    for subject, rows in parts:
        text += ["", f"## {subject.TITLE}", "", f"{subject.UNIT}, medians; wanted: "
                 f"{subject.TARGET}.", "", markdown(rows, subject)]
        reasons = {f"{name}: {reason}" for row in rows for name, reason in row["absent"].items()}
        if reasons:
            text += ["", "Not measured: " + "; ".join(sorted(reasons)) + "."]
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(text) + "\n", "utf-8")
