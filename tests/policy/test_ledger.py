"""The ledger: rows, claims, and what they mean as elements."""

from collections.abc import Iterable
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsfw.names import Name, parse_name
from dnsfw.policy.grants import Granted
from dnsfw.policy.ledger import (
    ADOPTED,
    CLAIMS_A_ROW,
    NO_ROW,
    Claim,
    Ledger,
    Standing,
    is_adopted,
    loses_claims,
    standings,
    with_claims,
)
from dnsfw.policy.model import LeaseLimits, PodUid, RuleRef
from dnsfw.policy.ports import Kind, Piece, PortSet
from dnsfw.policy.snapshot import Permit

A, B = PodUid("a"), PodUid("b")
HTTPS, SSH = Piece(Kind.PORT, 6, 443, 443), Piece(Kind.PORT, 6, 22, 22)
ADDRESS, OTHER = bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2))


def permit(rule: str, *pieces: Piece, basis: str = "1") -> Permit:
    return Permit(rule=RuleRef(namespace="shop", name=rule), ports=PortSet.NONE, pieces=pieces, limits=LeaseLimits(), basis=basis)


WEB, BOTH, SHELL = permit("web", HTTPS), permit("both", HTTPS, SSH), permit("web", SSH)


def claim(of: Permit, name: str, until: float) -> Claim:
    return Claim(of, parse_name(name), until)


def said(claims: Iterable[Claim]) -> set[tuple[object, ...]]:
    """In whatever order."""
    return {(of.permit, of.name, of.until) for of in claims}


claims = st.lists(
    st.builds(claim, st.sampled_from([WEB, BOTH]), st.sampled_from(["x.example.net", "y.example.net"]), st.floats(0, 100)), max_size=8
)


@given(first=claims, second=claims)
def test_an_element_lasts_as_long_as_its_longest_claim(first: list[Claim], second: list[Claim]) -> None:
    """Max-merge, in whatever order and however often claims come."""
    found = standings(with_claims(with_claims(NO_ROW, first), second))

    wanted: dict[Piece, float] = {}
    for each in (*first, *second):
        for piece in each.permit.pieces:
            wanted[piece] = max(wanted.get(piece, 0.0), each.until)
    assert {piece: standing.until for piece, standing in found.items()} == wanted


@given(first=claims, second=claims)
def test_one_claim_for_each_rule_and_name(first: list[Claim], second: list[Claim]) -> None:
    """Renewals do not pile up."""
    row = with_claims(with_claims(NO_ROW, first), second)

    assert len({(each.permit.rule, each.name) for each in row}) == len(row)
    assert {(each.permit.rule, each.name) for each in row} == {(each.permit.rule, each.name) for each in (*first, *second)}


def test_longest_claim_names_the_rule() -> None:
    """What outlives the other's lease bears its own rule's number: it must end with that rule."""
    row = with_claims((claim(WEB, "x.example.net", 10),), [claim(BOTH, "x.example.net", 50)])

    assert standings(row) == {HTTPS: Standing(BOTH.rule, 50), SSH: Standing(BOTH.rule, 50)}


def test_shorter_claim_changes_nothing() -> None:
    """A later claim on the same permission that ends before it."""
    row = (claim(WEB, "x.example.net", 50), claim(BOTH, "y.example.net", 10))

    assert standings(row)[HTTPS] == Standing(WEB.rule, 50)


def test_equal_ends_are_named_alike_in_any_order() -> None:
    """The table is a function of state, not of who asked first."""
    row = (claim(WEB, "x.example.net", 50), claim(BOTH, "y.example.net", 50))

    assert standings(row) == standings(row[::-1])
    assert standings(row)[HTTPS] == Standing(BOTH.rule, 50)


def test_newest_permit_replaces_the_older_of_its_rule() -> None:
    """After a change of rules, the claim stands on the new content; its end stays the latest."""
    newer = permit("web", SSH, basis="2")
    row = with_claims((claim(WEB, "x.example.net", 50),), [claim(newer, "x.example.net", 20)])

    assert row == (claim(newer, "x.example.net", 50),)


def test_equal_end_takes_the_newer() -> None:
    """At the same end, the newer permit counts as well."""
    newer = permit("web", SSH, basis="2")

    assert with_claims((claim(WEB, "x.example.net", 50),), [claim(newer, "x.example.net", 50)])[0].permit is newer


@pytest.mark.parametrize("extra", [0, 1, 3])
def test_claims_a_row_are_bounded(extra: int) -> None:
    """Beyond the bound, those that end first are forgotten."""
    row = with_claims(NO_ROW, [claim(WEB, f"n{index}.example.net", index) for index in range(CLAIMS_A_ROW + extra)])

    assert len(row) == CLAIMS_A_ROW
    assert min(each.until for each in row) == extra


@pytest.mark.parametrize("until", [pytest.param(0, id="ends-first"), pytest.param(90, id="ends-last")])
def test_what_only_one_claim_allows_is_not_forgotten_for_names(until: int) -> None:
    """However many names there are, every permission that was told has its element, and a claim that says when it is taken back."""
    names = [claim(WEB, f"n{index}.example.net", index) for index in range(CLAIMS_A_ROW + 3)]
    row = with_claims(with_claims(NO_ROW, [claim(SHELL, "ssh.example.net", until)]), names)

    assert len(row) == CLAIMS_A_ROW
    assert standings(row)[SSH] == Standing(SHELL.rule, until)
    assert standings(row)[HTTPS] == Standing(WEB.rule, CLAIMS_A_ROW + 2)


def test_rows_grow_past_the_bound_with_what_the_rules_tell_apart() -> None:
    """More permissions than the bound has places: all of them stand."""
    claims = [claim(permit(f"r{index}", HTTPS), "x.example.net", index) for index in range(CLAIMS_A_ROW + 3)]

    assert said(with_claims(NO_ROW, claims)) == said(claims)


def test_a_place_for_a_name_is_none_where_the_rules_take_all() -> None:
    """What only one claim allows takes every place: names that allow nothing more have none, the one that ends last alone counts."""
    apart = [claim(permit(f"r{index}", HTTPS), "x.example.net", index) for index in range(CLAIMS_A_ROW)]
    more = [claim(apart[0].permit, f"{letter}.example.net", 90 - place) for place, letter in enumerate("abc")]

    assert said(with_claims(NO_ROW, [*apart, *more])) == said([*apart[1:], more[0]])


def test_names_are_forgotten_by_their_ends_not_by_their_letters() -> None:
    """Of too many, those that end first, however they are called."""
    names = [claim(WEB, f"{chr(ord('z') - index // 10)}{9 - index % 10}.example.net", index) for index in range(CLAIMS_A_ROW + 2)]

    assert said(with_claims(NO_ROW, names)) == said(names[2:])


def test_nothing_is_known_of_whom_nobody_knows() -> None:
    """An unknown pod has no rows; an empty row that was not there changes no count."""
    ledger = Ledger()
    ledger.accept({(A, ADDRESS): NO_ROW})

    assert (dict(ledger.rows_of(B)), ledger.row(B, ADDRESS), len(ledger)) == ({}, NO_ROW, 0)


def test_only_a_full_row_loses_claims() -> None:
    """Room for one more is no loss, nor is the same claim once more; what finds none is, the new one too."""
    names = [claim(WEB, f"n{index}.example.net", index) for index in range(CLAIMS_A_ROW + 1)]
    nearly, full = with_claims(NO_ROW, names[:-2]), with_claims(NO_ROW, names[:-1])

    assert not loses_claims(nearly, names[-2:-1], full)
    assert not loses_claims(full, names[:1], with_claims(full, names[:1]))
    assert loses_claims(full, names[-1:], with_claims(full, names[-1:]))


def test_rows_are_counted_and_dropped() -> None:
    """Accepting an empty row forgets it; the count is that of rows."""
    ledger = Ledger()
    row = (claim(WEB, "x.example.net", 10),)
    ledger.accept({(A, ADDRESS): row, (A, OTHER): row, (B, ADDRESS): row})
    assert (len(ledger), set(ledger.pods()), dict(ledger.rows_of(A))) == (3, {A, B}, {ADDRESS: row, OTHER: row})

    ledger.accept({(A, ADDRESS): row, (B, ADDRESS): NO_ROW, (B, OTHER): NO_ROW})
    assert (len(ledger), set(ledger.pods())) == (2, {A})
    assert ledger.row(A, ADDRESS) == row
    assert ledger.row(B, ADDRESS) == NO_ROW


def test_rows_are_kept_whole_however_many_claims_they_have() -> None:
    """Their addresses are known apart from them; a pod that nobody knows has none."""
    rows = [tuple(claim(WEB, f"{name}.example.net", 9) for name in "xyz"[:length]) for length in (1, 2, 3)]
    of = {bytes((192, 0, 2, len(row))): row for row in rows}
    ledger = Ledger()
    ledger.accept({(A, address): row for address, row in of.items()})

    assert dict(ledger.rows_of(A)) == {address: ledger.row(A, address) for address in of} == of
    assert (list(ledger.addresses_of(A)), list(ledger.addresses_of(B))) == (list(of), [])


def test_a_claim_ends_when_it_says() -> None:
    """Of this name, by this rule, on these ports; whether it is its row's only one or not. -infinity for whatever is not there."""
    ledger = Ledger()
    one, two = claim(WEB, "x.example.net", 10), claim(BOTH, "y.example.net", 20)
    ledger.accept({(A, ADDRESS): (one,), (A, OTHER): (one, two)})
    again, elsewhere = permit("web", HTTPS, basis="2"), WEB._replace(ports=PortSet.EVERY)

    for address, until in ((ADDRESS, -inf), (OTHER, 20)):
        assert ledger.ends(A, address, WEB, one.name) == ledger.ends(A, address, again, one.name) == 10
        assert ledger.ends(A, address, BOTH, two.name) == until
        assert [ledger.ends(A, address, *of) for of in ((WEB, two.name), (BOTH, one.name), (elsewhere, one.name))] == [-inf] * 3
    assert (ledger.ends(B, ADDRESS, WEB, one.name), ledger.ends(A, bytes(4), WEB, one.name)) == (-inf, -inf)


def test_rows_are_known_until_they_go() -> None:
    """One by one, or all of them."""
    ledger = Ledger()
    row = (claim(WEB, "x.example.net", 10),)
    ledger.accept({(A, ADDRESS): row, (A, OTHER): row, (B, OTHER): row})
    ledger.accept({(A, ADDRESS): NO_ROW})
    assert [ledger.knows(*of) for of in ((A, ADDRESS), (A, OTHER), (B, OTHER), (B, ADDRESS))] == [False, True, True, False]
    assert len(ledger) == 2

    ledger.clear()
    assert (len(ledger), list(ledger.pods()), ledger.knows(A, OTHER)) == (0, [], False)


def test_removed_pod_takes_its_rows_along() -> None:
    """Nothing of it is left, and removing it again is nothing."""
    ledger = Ledger()
    row = (claim(WEB, "x.example.net", 10),)
    ledger.accept({(A, ADDRESS): row, (A, OTHER): row, (B, ADDRESS): row})
    ledger.remove_pod(A)
    ledger.remove_pod(A)

    assert len(ledger) == 1
    assert not ledger.addresses_of(A)
    assert ledger.row(B, ADDRESS) == row


def test_adopted_names_are_no_names() -> None:
    """What was found at start is told from every name that there can be."""
    assert is_adopted(Name(ADOPTED + b"anything"))
    assert not is_adopted(parse_name("www.example.net"))
    assert not is_adopted(parse_name("."))


def test_claims_and_outcomes_are_values() -> None:
    """Two that say the same are the same; nothing else is."""
    one, other = claim(WEB, "x.example.net", 10), claim(WEB, "x.example.net", 11)
    assert one == claim(WEB, "x.example.net", 10)
    assert one not in (other, (WEB, one.name, one.until))
    assert Granted(10.0, 5, 1) == Granted(10.0, 5, 1)
    assert Granted(10.0, 5, 1) not in (Granted(10.0, 5, 2), (10.0, 5, 1))
