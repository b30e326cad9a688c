"""Does what a stranger wrote ever do more than be refused? Ten thousand each of specs, manifests, packs and folders.

    python benchmarks/durability/fuzz.py [COUNT]

Inputs are drawn by Hypothesis, and for what reads bytes also by Atheris (guided by coverage) where that is installed.
Each outcome is success or the documented error, within a time limit and without running out of a bounded memory;
nothing is written outside of the folder, no process is started, nothing imported, nothing unpickled: an audit hook and
a snapshot of the folder's surroundings check this. The first violation ends the benchmark with its traceback.
"""

import importlib
import importlib.util
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).parents[1]))  # where `measuring` is
sys.path.insert(2, str(Path(__file__).parents[2] / "tests"))

import hostile  # pyright: ignore[reportMissingImports]
from guarded import Stage  # pyright: ignore[reportMissingImports]
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from measuring.timing import save

COUNT = 10_000
WHOLE = 10  # one spec in so many is planned to the end, with tasks made and steps traced
ROOM = 4 * 2**30  # bytes that may be allocated beyond what importing took
BYTES = ("manifest", "pack", "spec")  # what Atheris can write


def readers(stage: Stage) -> dict[str, Callable[[st.DataObject], str]]:
    """Each draws one input, and has it read."""

    def folder(data: st.DataObject) -> str:
        base = data.draw(st.sampled_from((stage.saved, stage.saved, stage.broken, stage.complete)))
        altered = stage.fresh(base)
        data.draw(hostile.spoil(altered, stage.outside))
        return stage.read_folder(altered)

    return {
        "spec": lambda data: stage.read_spec(data.draw(hostile.specs()), data.draw(st.integers(1, WHOLE)) == 1),
        "manifest": lambda data: stage.read_manifest(data.draw(hostile.manifests(stage.manifest))),
        "pack": lambda data: stage.read_pack(data.draw(hostile.packs(stage.pack))),
        "folder": folder,
    }


def drawn(read: Callable[[st.DataObject], str], count: int) -> Counter:
    """Count outcomes by kind, for a number of different inputs."""
    outcomes: Counter = Counter()
    limits = {"deadline": None, "database": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}

    @settings(max_examples=count, phases=[Phase.generate], **limits)
    @given(st.data())
    def all_of_them(data):
        outcomes[read(data)] += 1

    all_of_them()
    return outcomes


def guided(target: str, count: int) -> str:
    """Have Atheris write inputs in a process of its own, for it ends its process."""
    command = [sys.executable, __file__, str(count), "atheris", target]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"Atheris, {target}:\n{done.stdout}{done.stderr}")
    return next(line for line in reversed(done.stderr.splitlines()) if line.startswith("Done "))


def guide(stage: Stage, target: str, count: int) -> None:
    """Atheris' own process."""
    atheris = importlib.import_module("atheris")

    from jaxopt_lab.cli import toml
    from jaxopt_lab.store import manifest, pack

    functions = {"manifest": manifest.parse, "pack": pack.unpacked, "spec": toml.loaded}
    atheris.instrument_func(functions[target])  # in place
    read = {
        "manifest": lambda content: stage.read_manifest(hostile.resealed(content)),
        "pack": stage.read_pack,
        "spec": lambda content: stage.read_spec(content.decode("utf-8", "replace")),
    }[target]
    seeds = {
        "manifest": [stage.manifest, hostile.unsealed(stage.manifest)],
        "pack": [stage.pack],
        "spec": [s.encode() for s in hostile.SPECS],
    }[target]
    corpus = stage.root / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(seeds):
        (corpus / str(number)).write_bytes(seed)
    stage.around = stage.snapshot()
    atheris.Setup([sys.argv[0], f"-runs={count}", "-seed=1", "-max_len=8192", str(corpus)], read)
    atheris.Fuzz()


def limit_memory() -> None:
    """Limit memory: an input that makes the reader allocate more counts as a failure."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmSize:"):
            most = int(line.split()[1]) * 1024 + ROOM
            resource.setrlimit(resource.RLIMIT_AS, (most, most))


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else COUNT
    memory = Path("/dev/shm")  # where waiting for a disk takes no time
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as root:
        stage = Stage(Path(root))
        if sys.argv[2:3] == ["atheris"]:
            guide(stage, sys.argv[3], count)
        limit_memory()
        figures = dict(measured(stage, count))
    figures["atheris"] = "not installed"
    if importlib.util.find_spec("atheris"):
        figures["atheris"] = {target: guided(target, count) for target in BYTES}
        print(figures["atheris"])
    print(save("fuzz", figures))


def measured(stage: Stage, count: int) -> Iterator[tuple[str, Any]]:
    for name, read in readers(stage).items():
        began, stage.guard.longest = time.perf_counter(), 0.0
        outcomes = drawn(read, count)
        found = {
            "inputs": sum(outcomes.values()),
            **outcomes,
            "seconds": round(time.perf_counter() - began, 1),
            "longest": round(stage.guard.longest, 3),
            "most memory, MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }
        if name == "spec":
            found["planned to the end"] = stage.planned
        print(name, found)
        yield name, found


if __name__ == "__main__":
    main()
