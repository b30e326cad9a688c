"""How large is a page, and how soon is it open? Run: python benchmarks/report/page.py

A sweep of 10,000 trials: 2,000 configurations of four optimizers with five seeds, or 10,000 configurations with one.
Its page is written, which is timed without the charting library's bundle (made once in a process, and timed by
itself), and opened in Chromium without a window, each time in a fresh browser: milliseconds from the start of
navigation until all charts are drawn, and the processor time that the page's thread took for it. `--trials` makes it
smaller.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).parents[1]))  # where `measuring` is
sys.path.insert(1, str(Path(__file__).parents[2] / "tests" / "report"))  # where the tests' browser is

import browser  # pyright: ignore[reportMissingImports]
from measuring import timing
from measuring.compare import ranged, spread

import jaxopt_lab as jl
from jaxopt_lab.report.page.document import library
from jaxopt_lab.report.page.page import Report

CHARTS = "document.querySelectorAll('.chart canvas').length"


def swept(configs: int, seeds: int) -> jl.Results:
    """Sweep `configs` configurations in all: three optimizers with drawn values, and one over a grid."""
    ranges = {"learning_rate": jl.log(1e-4, 10), "b1": jl.linear(0.5, 0.99), "b2": jl.linear(0.9, 0.9999)}
    space: dict[str, Any] = {name: jl.random(ranges, n=configs // 4, key=0) for name in ("adam", "nadam", "amsgrad")}
    rates = max(2, configs // 80)
    space["momentum"] = {"learning_rate": jl.log(1e-4, 10, rates), "momentum": jl.linear(0, 0.99, 20)}
    task = jl.tasks.breast_cancer(holdout=True, batch_size=32)
    return jl.sweep(list(space), task, space, steps=100, seeds=seeds, evaluate=2)


def opened(path: Path, repeats: int) -> dict[str, Any]:
    """Open a page in fresh browsers. Raises RuntimeError where a chart is missing or something went wrong."""
    drawn, busy = [], []
    for _ in range(repeats):
        with browser.Browser(str(browser.found())) as tab:
            tab.call("Performance.enable", timeDomain="threadTicks")
            drawn.append(tab.open(path))
            metrics = {m["name"]: m["value"] for m in tab.call("Performance.getMetrics")["metrics"]}
            busy.append(1000 * metrics["TaskDuration"])
            if tab.run(CHARTS) != 4 or tab.problems():
                raise RuntimeError(f"The page was not drawn: {tab.problems()}")
    return {"milliseconds": spread(drawn), "thread_milliseconds": spread(busy)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    if browser.found() is None:
        parser.error(f"no browser is installed: one of {', '.join(browser.NAMES)}")
    began = time.perf_counter()
    figures: dict[str, Any] = {"library": {"seconds": 0.0, "bytes": len(library().encode())}}
    figures["library"]["seconds"] = time.perf_counter() - began
    for seeds in (5, 1):
        results = swept(options.trials // seeds, seeds)
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            path = Report(results)(Path(folder) / "page.html")
            took = time.perf_counter() - began
            own = {"trials": results.dataset["status"].size, "bytes": path.stat().st_size, "write_seconds": took}
            own |= opened(path, options.repeats)
        figures[f"{seeds}_seeds"] = own
        drawn, busy = (ranged(own[name], ".0f") for name in ("milliseconds", "thread_milliseconds"))
        print(
            f"{own['trials']:,} trials, {seeds} seed(s) each: {own['bytes'] / 1e6:.2f} MB, written in {took:.1f} s, "
            f"drawn in {drawn} ms (thread busy {busy} ms)",
            flush=True,
        )
    print(timing.save("page", figures))


if __name__ == "__main__":
    main()
