"""What pyproject.toml cannot say: with DNSFW_COMPILE=1, the modules that every query runs through become machine code (ADR 0010).

The same source, typed as it is; without it, or where a module is changed in place, Python runs it as any other. Whoever asks for it and
cannot have it is told so by the build, which fails: a C compiler and Python's headers must be there. Left out, though they are on the way:
modules whose frozen values are sent to workers (a compiled one cannot be pickled): dnsfw.names, dnsfw.policy.model.
"""

import os

from setuptools import Extension, setup

POLICY = ("ledger", "lease", "snapshot", "grants", "index", "protected", "turns")
FORWARDER = (
    *("service", "wire", "records", "aliases", "answer", "cache", "events", "inquiry", "health", "timers", "admission", "perform"),
    *("upstreams", "upstream_udp", "bursts", "vigil", "line", "listener_udp", "datagrams", "edns", "account", "respond", "exchange"),
    *("release", "rewrite", "server", "tallies"),
)
ENFORCE = ("asked", "numbers", "elements", "installer", "rejudge", "state", "cuts", "targets", "layout")
HOT = ("dnsfw/hot.py", "dnsfw/fresh.py", "dnsfw/plain.py", "dnsfw/audit/backlog.py", "dnsfw/audit/pipeline.py", "dnsfw/audit/recorder.py")
WORKERS = ("mirror", "recording")  # only since these are a `View` and a `Recorder`, which are compiled
NFT = ("changes", "codec", "elements", "socket", "netlink")

COMPILED = (
    "dnsfw/ring.py",
    *(f"dnsfw/policy/{name}.py" for name in POLICY),
    *(f"dnsfw/forwarder/{name}.py" for name in FORWARDER),
    *(f"dnsfw/enforce/{name}.py" for name in ENFORCE),
    *HOT,
    *(f"nft/{name}.py" for name in NFT),
    *(f"dnsfw/workers/{name}.py" for name in WORKERS),
)


def extensions() -> list[Extension]:
    if os.environ.get("DNSFW_COMPILE") != "1":
        return []
    from mypyc.build import mypycify  # noqa: PLC0415 -- only whoever compiles needs it

    return mypycify(["--ignore-missing-imports", *COMPILED], opt_level="2", group_name="dnsfw")


setup(ext_modules=extensions())
