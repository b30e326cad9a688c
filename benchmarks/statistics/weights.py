"""Simulate the critical masses of confidence bands that are shipped with the package; twenty minutes on a busy core.

    python benchmarks/statistics/weights.py

It writes jaxopt_lab/statistics/weights/critical.json. Masses are those of the same seed and number of samples, so a
second run changes nothing unless NumPy, SciPy or opda do.
"""

import importlib.metadata
import json
import time

from jaxopt_lab.statistics.bands import SEED, SHIPPED, SIMULATED, simulated_mass

CONFIDENCE = 0.95
SIZES = [*range(2, 129), 144, 160, 176, 192, 200, 224, 256, 300, 320, 400, 500, 512, 640, 800, 1000, 1024, 1500, 2048]


def main() -> None:
    masses, start = {}, time.perf_counter()
    for n in SIZES:
        masses[f"{CONFIDENCE!r}/{n}"] = simulated_mass(n, CONFIDENCE)
        print(f"n = {n}: {masses[f'{CONFIDENCE!r}/{n}']:.6f} after {time.perf_counter() - start:.0f} s", flush=True)
    versions = {name: importlib.metadata.version(name) for name in ("numpy", "opda", "scipy")}
    table = {"samples": SIMULATED, "seed": SEED, "versions": versions, "masses": masses}
    SHIPPED.write_text(json.dumps(table, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
