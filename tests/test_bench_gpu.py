"""What of ``python -m bench gpu`` needs no GPU: its cases, its checks of results, its tables.

In Numba's simulator its kernels run, too, on a handful of numbers: a benchmark that accepts what is
wrong, or refuses what is right, is worth nothing.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(not (ROOT / "bench" / "gpu").is_dir(), reason="no source checkout")


@pytest.fixture
def bench(monkeypatch):
    """A function that imports a module of ``bench.gpu``."""
    monkeypatch.syspath_prepend(str(ROOT))
    yield lambda name: importlib.import_module(f"bench.gpu.{name}")
    for name in [name for name in sys.modules if name.partition(".")[0] == "bench"]:
        del sys.modules[name]


@pytest.fixture
def card(bench, cuda):
    """A card whose launches are made once, in the simulator."""
    module = bench("card")
    made = object.__new__(module.Card)
    made.stream, made.random, made.LAUNCHES = 0, np.random.default_rng(), 1
    made.replay = lambda enqueue: (enqueue(), SimpleNamespace())[1]
    return made


def row(name, ours, peer, **more):
    return {"workload": name, "note": "64 M", "seconds": {"fusedmlp": ours, "PyTorch": peer},
            "turns": {}, "errors": {"fusedmlp": 1e-7}, "tolerance": 1e-5, "absent": {},
            "ours": ["fusedmlp"], "fastest_peer": "PyTorch", "ratio": {"fusedmlp": peer / ours},
            "round_trip_ns": [], **more}


# -- without a GPU -------------------------------------------------------------------------------


@pytest.mark.parametrize("subjects", [[], ["kernels", "training"]])
def test_without_a_gpu_it_says_what_is_missing(subjects):
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "NUMBA_ENABLE_CUDASIM": "0"}
    done = subprocess.run([sys.executable, "-m", "bench", "gpu", *subjects], cwd=ROOT, text=True,
                          capture_output=True, check=False, env=environment, timeout=120)
    assert done.returncode == 1
    assert done.stderr.startswith("python -m bench gpu measures on an NVIDIA GPU: ")
    assert "install" in done.stderr or "CUDA_VISIBLE_DEVICES" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_simulator_measures_nothing(bench, monkeypatch, capsys):
    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", "1")
    assert bench("command").main([]) == 1
    assert "unset NUMBA_ENABLE_CUDASIM" in capsys.readouterr().err


def test_cases_are_chosen_by_name(bench):
    command = bench("command")

    def names(*arguments):
        options = command._parser().parse_args(arguments)
        return [name for _, found in command.chosen(options) for name in found]

    everything = names()
    assert len(everything) > 50
    assert set(names("--quick")) < set(everything)
    assert names("kernels", "--only", "softmax_cross_entropy") == [
        f"softmax_cross_entropy, {c}" for c in (10, 1000, 32000)]
    assert names("--only", "relu", "wide") == ["relu", "wide"]
    for wrong, expected in ((["kernel"], "some of kernels, products, training, pred"),
                            (["--only", "rellu"], "Unknown case. Received: 'rellu'")):
        with pytest.raises(ValueError, match=expected):
            names(*wrong)


def test_bytes_and_flops_are_those_of_one_launch(bench):
    kernels, products = bench("kernels"), bench("products")
    for name in kernels.NAMES:
        _, _, nbytes, note = kernels.plan(name, 1 << 26)
        assert nbytes > 3 << 26  # more than any cache holds
        assert note
    assert [kernels.plan(name, 100)[2] for name in ("relu", "sgd", "momentum", "adam")] == [
        800, 1200, 2000, 2800]
    assert {products.shape_of(name)[0] for name in products.NAMES} == {
        "product", "dense relu", "dx", "dw and db"}
    prediction = bench("prediction")
    limits = SimpleNamespace(gflops=60_000.0, gbytes=4000.0)
    of = {name: prediction.roofline(SimpleNamespace(row_flops=flops, widths=widths), 10**6, limits)
          for name, flops, widths in (("mnist", 469_504, (784, 10)), ("tiny", 672, (4, 3)))}
    assert of["mnist"][2] == "flops"
    assert of["tiny"] == (6.72e8, 2.8e7, "flops" if 6.72e8 / 6e4 > 2.8e7 / 4e3 else "bytes")


def test_wrong_products_are_found(bench):
    """A row that is missing, and factors that were rounded to tf32."""
    products = bench("products")
    rng = np.random.default_rng()
    given = [rng.standard_normal(s).astype("float32") for s in ((9, 64), (64, 7), (7,), (9, 7))]
    x, kernel, bias, dz = given
    right = {"product": [x @ kernel], "dense relu": [np.maximum(x @ kernel + bias, 0)],
             "dx": [dz @ kernel.T], "dw and db": [x.T @ dz, dz.sum(axis=0)]}
    assert set(right) == {products.shape_of(name)[0] for name in products.NAMES}
    rounded = (x.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)
    assert products.error("product", given, [rounded @ kernel]) > products._TOLERANCE
    for kind, found in right.items():
        assert products.error(kind, given, found) < products._TOLERANCE
        found[-1][..., -1] = np.nan
        assert not products.error(kind, given, found) <= products._TOLERANCE


def test_contenders_take_turns_and_are_timed_by_events(bench):
    card, log = bench("card"), []

    class Timed(card.Replay):
        def __init__(self, name, seconds):
            self.name, self.each = name, seconds

        def seconds(self, count):
            log.append((self.name, count))
            return count * self.each

    times = card.alternate({"a": Timed("a", 2e-3), "b": Timed("b", 5e-4)}, 2)
    assert times == {"a": [2e-3, 2e-3], "b": [5e-4, 5e-4]}
    assert [one for one in log if one[1] > 1] == [("a", 5), ("b", 20), ("b", 20), ("a", 5)]


def test_a_page_is_written(bench, tmp_path):
    results, kernels, products = bench("results"), bench("kernels"), bench("products")
    rows = [row("relu", 1e-4, 1.2e-4, gbytes_per_s=3900.0, of_copy_gbytes=0.93),
            row("wrong", 1e-4, 2e-4, absent={"JAX": "not installed"})]
    rows[1]["seconds"].pop("fusedmlp")
    rows[1].update(ours=[], ratio={}, absent={"fusedmlp": "WRONG: error 1", "JAX": "not installed"})
    page = tmp_path / "made" / "RESULTS.md"
    results.save(page, [(kernels, rows), (products, rows[:1])],
                 {"date": "2030-01-01", "device": "a card", "copy_gbytes_per_s": 4200.0},
                 {"fusedmlp": "1.0", "torch": "9"})
    text = page.read_text("utf-8")
    assert "- copy gbytes per s: 4200.0" in text
    assert "- versions: fusedmlp 1.0, torch 9" in text
    assert "| relu: 64 M | 100 | 120 | 1.20 | 3,900 GB/s | 93% |" in text
    assert "| wrong: 64 M | wrong | 200 | – | – | – |" in text
    assert "Not measured: JAX: not installed; fusedmlp: WRONG: error 1." in text
    assert text.count("## ") == 2


def test_a_run_prints_and_writes_what_it_measured(bench, tmp_path, monkeypatch, capsys):
    """From the choice of cases to the files, with a card that is not there."""
    command, card = bench("command"), bench("card")
    kernels, cases = command.kernels, importlib.import_module("bench.cases")

    class Fake:
        gbytes, gflops, round_trips, LAUNCHES = 4000.0, 60_000.0, [], 10

        def sample(self):
            pass

        def describe(self):
            return {"date": "2030-01-01", "device": "a card"}

        def __str__(self):
            return "a card"

    class Timed(card.Replay):
        def seconds(self, count):
            return 2e-3 * count

    def made(names, card, quick):
        for name in names:
            case = cases.Case(name, 1e-5, "made", units=10, bytes=800_000_000)
            case.add(SimpleNamespace(NAME="fusedmlp"),
                     lambda adapter, name=name: (Timed(None, 0), 1.0 * (name == "adam")))
            yield case

    monkeypatch.setattr(command, "problem", str)
    monkeypatch.setattr(card, "Card", Fake)
    monkeypatch.setattr(kernels, "cases", made)
    target, page = tmp_path / "all.json", tmp_path / "page.md"
    status = command.main(["kernels", "--only", "relu", "adam", "--json", str(target),
                           "--results", str(page)])
    assert status == 1  # one of ours was wrong
    printed = capsys.readouterr().out
    assert "4,000 GB/s" in printed
    assert "100%" in printed
    assert "fusedmlp not in adam: WRONG: error 1, accepted 1e-05" in printed
    assert f"wanted: {kernels.TARGET}" in printed
    content = json.loads(target.read_text("utf-8"))
    assert content["rows"]["kernels"][0]["seconds"]["fusedmlp"] == pytest.approx(2e-4)
    assert "| relu: made | 200 |" in page.read_text("utf-8")
    assert command.main(["kernels", "--only", "relu"]) == 0


# -- in the simulator ----------------------------------------------------------------------------


@pytest.mark.skipif(os.environ.get("NUMBA_ENABLE_CUDASIM", "0") in ("", "0"),
                    reason="needs Numba's simulator: on a GPU the benchmark itself does this")
def test_every_case_accepts_what_is_right(bench, card, monkeypatch):
    kernels, products = bench("kernels"), bench("products")
    monkeypatch.setattr(kernels, "_LOGITS", dict.fromkeys(kernels._LOGITS, (3, 5)))
    monkeypatch.setattr(kernels, "_LENGTH", 2048)
    for case in kernels.cases(kernels.NAMES, card):
        assert case.contenders, (case.name, case.absent)
    monkeypatch.setattr(products, "shape_of", lambda name: (name.split(",")[0], (5, 3, 4)))
    for case in products.cases(products.QUICK, card):
        assert {"fusedmlp", "fusedmlp, tiles"} & set(case.contenders), case.absent
        assert not any(reason.startswith("WRONG") for reason in case.absent.values())
