"""What the benchmark rests on: answers that are what they claim, figures that hide nothing, a page that shows them."""

import json
from pathlib import Path

from wire_messages import query, question

from bench import page, report, zone
from bench.figures import Bar, Result, Series
from dnsfw.forwarder.answer import Answer, parse_response
from dnsfw.forwarder.wire import AAAA


def said(name: str, qtype: int = 1) -> Answer:
    found = parse_response(zone.answer(query(text=name, qtype=qtype)), question(name, qtype))
    assert isinstance(found, Answer), found
    return found


def test_each_name_has_an_address_of_its_own() -> None:
    """The address is counted from the name, so that what stands in the kernel can be checked against what was asked."""
    first, second = zone.names("one", (7, 8))

    assert said(first).addresses == (zone.packed_address(7),)
    assert said(second).addresses == (zone.packed_address(8),)
    assert len(said(first, AAAA).addresses) == 1


def test_stores_answer_with_eight_addresses_for_five_seconds() -> None:
    """As object stores do: others each time."""
    found = said(next(zone.names("s3", (1,))))

    assert (len(found.addresses), found.ttl) == (8, 5)


def test_unknown_names_do_not_exist() -> None:
    """In whatever zone: what a search list asks first gets NXDOMAIN."""
    for name in ("www.example.com", "x00000001.one.example.net.svc.cluster.local", "x00000001.none.example.net"):
        assert said(name).rcode == 3


def test_page_shows_what_was_missed_and_what_failed(tmp_path: Path) -> None:
    """Bars that do not hold, queries that failed, servers that were left out: all stand on the page."""
    series = Series("dnsfw", "queries/s", [10.0, 30.0, 20.0], failures=3, problems=["2 answers without an element"])
    result = Result("forwarded", "Forwarded", [series], [Bar(what="against itself", value=0.5, bar=1, unit="times")])
    (tmp_path / "bench" / "results").mkdir(parents=True)
    (tmp_path / "docs").mkdir()
    report.write(tmp_path, report.machine(tmp_path, 3, 1.0, 5.0, ["CoreDNS: no Go toolchain"]), [result])

    text = (tmp_path / "docs" / "performance.md").read_text()
    assert "| dnsfw | 20 (10\N{EN DASH}30) queries/s | 3 |" in text
    assert "**missed**" in text and "no Go toolchain" in text and "2 answers without an element" in text
    assert json.loads((tmp_path / "bench" / "results" / "forwarded.json").read_text())["series"][0]["values"] == [10.0, 30.0, 20.0]
    assert set(page._ORDER) == _cases()


def _cases() -> set[str]:
    from bench.__main__ import CASES  # noqa: PLC0415 -- it imports every case

    return set(CASES)
