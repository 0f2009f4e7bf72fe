"""Memory over time: what is asked again and again, and what is sent to do harm, leaves nothing behind."""

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from system_kit import Site, names

from dnsfw.demo import topology

POUR = str(Path(__file__).parent / "pour.py")
RATE = 2000
PODS = 8
SECONDS = int(os.environ.get("SOAK_SECONDS", "600"))
WARM_S = 60
GROWTH_KB = 5 * 1024


@pytest.mark.long
def test_soak_memory_stays_what_it_was(own_site: Site) -> None:
    """2,000 queries/s, a tenth of it abuse: after a minute the process grows by less than 5 MB, descriptors too stay few."""
    lab = own_site.lab
    lab.internet.generate("many.example.net", ttl=30)
    own_site.allow("web", names("*.example.net"))
    pods = own_site.pods(*["web"] * PODS)
    samples: list[int] = []
    with ThreadPoolExecutor(PODS) as pool:
        pouring = [
            pool.submit(
                lab.run,
                sys.executable,
                POUR,
                topology.LISTEN4,
                str(RATE // PODS),
                str(SECONDS),
                place=pod.place,
                timeout=SECONDS + 60,
            )
            for pod in pods
        ]
        time.sleep(WARM_S)
        while not all(each.done() for each in pouring):
            samples.append(resident_kb(own_site))
            time.sleep(5)
    counts = [json.loads(each.result().stdout) for each in pouring]
    growth = max(samples[-3:]) - min(samples[:3])
    print(f"resident kB: {samples[0]} to {samples[-1]}, growth {growth}; {counts}")  # noqa: T201 -- pytest -s shows the figures

    assert growth < GROWTH_KB, samples
    for each in counts:
        assert each["rcode 0"], each
        assert "rcode 2" not in each, "what is answered at all is answered rightly"
    assert lab.run("ls", f"/proc/{own_site.program.pid}/fd").stdout.count("\n") < 300


def resident_kb(site: Site) -> int:
    status = site.lab.run("cat", f"/proc/{site.program.pid}/status").stdout
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])
