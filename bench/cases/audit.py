"""What the audit costs, and whether it is whole after a minute at full rate.

Touches what `Setup` gives.
"""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from bench import zone
from bench.cases.throughput import new_names
from bench.figures import Bar, Result, Series
from bench.load import Questions, put
from bench.program import Dnsfw, Setting
from bench.setup import Setup
from bench.shell import BenchError

_MINUTE_S = 60.0
_MINUTE_BLOCK = 100_000_000
_MINUTE_NAMES = 4_000_000


def audit(setup: Setup) -> Result:
    on, off, minute = Series("audit on", "queries/s"), Series("audit off", "queries/s"), Series("a minute", "queries/s")
    result = Result("audit", "Forwarded and installed, with the audit and with records handed to nobody", [on, off, minute])
    for number in range(setup.rounds):
        questions = Questions(setup.folder / "questions", new_names(setup, number))
        for series, module in ((on, "dnsfw"), (off, "bench.without_audit")):
            with _program(setup, f"audit-{module}-{number}", module) as server:
                load = put(setup.lab, server.target, questions, seconds=setup.seconds, is_once=True)
            series.values.append(load.qps)
            series.failures += load.failures("NOERROR")
            series.note("records", server.audited())
    if off.median_of("records") > off.median * setup.seconds / 100:
        raise BenchError("the audit that should be off keeps records")
    _a_minute(setup, minute)
    share = 100 * on.median / off.median
    result.bars.append(Bar(what="audit on against off", value=share, bar=85, unit="%"))
    result.bars.append(Bar(what="records missing after a minute at full rate", value=minute.median_of("missing"), bar=0, is_ceiling=True))
    return result


def _program(setup: Setup, name: str, module: str = "dnsfw") -> Dnsfw:
    server = Dnsfw(setup.folder / name, is_caching=False)
    server.setting = replace(Setting(), module=module)
    return server


def _a_minute(setup: Setup, series: Series) -> None:
    asked = Questions(
        setup.folder / "minute", (f"{name} A" for name in zone.names("one", range(_MINUTE_BLOCK, _MINUTE_BLOCK + _MINUTE_NAMES)))
    )
    server = _program(setup, "audit-minute")
    with server:
        load = put(setup.lab, server.target, asked, seconds=min(_MINUTE_S, setup.seconds * 20), is_once=True)
    series.values.append(load.qps)
    series.failures += load.failures("NOERROR")
    series.note("missing", max(0, load.completed - server.audited()) + _gaps(server.folder / "audit.db"))


def _gaps(path: Path) -> int:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        found: int = database.execute("SELECT count(*) FROM gap").fetchone()[0]
    return found
