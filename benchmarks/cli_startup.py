"""How fast the command line answers: `python benchmarks/cli_startup.py [--repeats 9]`. Wanted: --help < 0.5 s, plan < 1 s.

Prints the machine, versions, and the median, fastest and slowest wall time of fresh processes. Run it on an idle machine.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from machine import machine

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "configs" / "generation" / "demo.yaml"


def seconds(arguments: Sequence[str], repeats: int) -> list[float]:
    """Wall times of `passerby ARGUMENTS` after one run that fills the caches. Stops with the command's own error if it fails."""
    argv = [sys.executable, "-m", "pipeline", *arguments]
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 -- argv list, no shell
        times.append(time.perf_counter() - start)
        if done.returncode != 0:
            sys.exit(f"passerby {' '.join(arguments)} ended with {done.returncode}: {done.stderr}")
    return times[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    print(machine("click", "PyYAML", "dacite", "rich"))
    for arguments in (["--help"], ["plan", str(RECIPE)]):
        times = seconds(arguments, repeats)
        label = "passerby " + " ".join(Path(a).name if a.endswith(".yaml") else a for a in arguments)
        print(
            f"{label:<24} median {statistics.median(times):.3f} s   fastest {min(times):.3f} s   slowest {max(times):.3f} s   n={repeats}"
        )


if __name__ == "__main__":
    main()
