"""What ``import rover`` costs in a fresh process, beyond ``import torch`` which it cannot do without (Linux)."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from benchmarks.measure import row

_PROBE = """
import json, re, sys, time
def used():  # ru_maxrss would begin at the peak of the process that started this one
    peak = re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())
    return time.process_time(), int(peak.group(1)) / 1024
import torch
before = used()
import rover
after = used()
heavy = [name for name in ("lightning", "omegaconf", "matplotlib", "sklearn", "gymnasium", "cma") if name in sys.modules]
print(json.dumps([before, after, heavy]))
"""


def rows(repeats: int = 3) -> list[dict[str, Any]]:
    """CPU seconds (limit: 2 beyond torch) and MiB (against torch alone)."""
    found = [_probe() for _ in range(repeats)]
    if any(heavy for *_, heavy in found):
        raise RuntimeError(f"`import rover` imports {found[0][-1]}")
    seconds = min(after[0] - before[0] for before, after, _ in found)
    torch_mib, both_mib = min(before[1] for before, *_ in found), min(after[1] for _, after, _ in found)
    return [
        row("CPU seconds of `import rover` beyond torch's, in units of 2", seconds, 2.0, "<= 1"),
        row("peak memory of `import rover` (MiB) against `import torch` alone", both_mib, torch_mib, "<= 1.25"),
    ]


def _probe() -> list[Any]:
    done = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)
