"""What the fuzzer begins with, and what it has found, through each target without a fuzzer."""

from pathlib import Path

import netlink_target
import pytest
import rules_target
import seeds
import wire_target
from harness import Meter, costs

TARGETS = {"wire": wire_target.target, "netlink": netlink_target.target, "rules": rules_target.target}
CORPUS = Path(seeds.__file__).parent / "corpus"
SEEDS = [pytest.param(kind, data, id=f"{kind}-{name}") for kind, make in seeds.CORPORA.items() for name, data in make()]


@pytest.mark.parametrize(("kind", "data"), SEEDS)
def test_every_seed_keeps_the_invariants(kind: str, data: bytes) -> None:
    """Honest messages pass each target whole, cut short and with a byte changed, and their steps are measured."""
    assert costs(TARGETS[kind], data)
    for place in range(0, len(data), 29 if len(data) < 2048 else len(data) // 12):
        TARGETS[kind](data[:place], Meter())
        TARGETS[kind](data[:place] + bytes([data[place] ^ 0x40]) + data[place + 1 :], Meter())


def test_corpus_is_what_the_script_makes(tmp_path: Path) -> None:
    """Nobody has to guess where a file of the corpus comes from."""
    seeds.write(tmp_path)

    made, kept = (
        {str(file.relative_to(top)): file.read_bytes() for file in top.rglob("*") if file.is_file()} for top in (tmp_path, CORPUS)
    )
    assert made == kept
