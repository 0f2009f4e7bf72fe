"""One process that answers against two workers, on the same cores as the load and the upstream.

Touches what `Setup` gives.
"""

from dataclasses import replace

from bench.cases.throughput import CACHED, FORWARDED, Round, one_round
from bench.figures import Bar, Result, Series
from bench.load import Questions
from bench.program import Dnsfw, Setting
from bench.setup import Setup

ONE, TWO = 1, 2


def workers(setup: Setup) -> Result:
    result = Result("workers", "One process that answers, and two workers")
    for kind in (FORWARDED, CACHED):
        found = {count: Series(f"{kind.case}, {count}", "queries/s") for count in (ONE, TWO)}
        result.series += found.values()
        for number in range(setup.rounds):
            questions = Questions(setup.folder / "questions", kind.questions(setup, number))
            # Each is the first as often as the other: what else the machine does must not favour one.
            for count in (ONE, TWO) if number % 2 == 0 else (TWO, ONE):
                setting = replace(Setting(), arguments=("--workers", str(count)))
                folder = replace(kind, case=f"workers-{count}-{kind.case}", setting=setting)
                one_round(setup, Round(folder, number, questions), found[count], Dnsfw)
        gain = found[TWO].median / found[ONE].median
        result.bars.append(Bar(what=f"{kind.case}: two workers against one process", value=gain, bar=1.0, unit="×"))
    return result
