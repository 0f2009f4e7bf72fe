"""The order of judgement, case by case."""

import pytest
from worlds import SETTINGS, WEB, allow, deny, judge, leave, packed, peer, policy, ports, rule, snapshot, told

from dnsfw.names import parse_name
from dnsfw.policy import snapshot as snapshots
from dnsfw.policy.model import LeaseLimits, Mode, PolicySettings, Rule
from dnsfw.policy.reasons import Reason
from dnsfw.policy.snapshot import NameVerdict, Policy, Stance

AUDIT = Mode.AUDIT
OUTSIDE = "192.0.2.1"


def verdict(of: Policy, name: str) -> tuple[bool, bool, Reason, str]:
    """Resolved, granting, reason, rule."""
    it = of.judge_name(parse_name(name))
    return it.is_resolved, it.is_granting, it.reason, str(it.rule or "")


def recorded(of: Policy, name: str) -> tuple[bool, str]:
    it = of.judge_name(parse_name(name))
    return it.would_refuse, str(it.audited or "")


ALLOW_ALL = rule("all", peer("*"))
ALLOW_A = rule("a", peer("a.example.net", on=[WEB]))


@pytest.mark.parametrize(
    ("rules", "stance"),
    [
        pytest.param((), Stance.UNTOUCHED, id="no-rule"),
        pytest.param((deny("d", peer("*")),), Stance.OPEN, id="deny-alone"),
        pytest.param((leave("p", peer("*")),), Stance.OPEN, id="pass-alone"),
        pytest.param((deny("d", peer("*"), mode=AUDIT),), Stance.OPEN, id="audit-deny-alone"),
        pytest.param((rule("none"),), Stance.ENFORCE, id="reach-nothing"),
        pytest.param((allow("a", peer("*")),), Stance.ENFORCE, id="cluster-allow"),
        pytest.param((rule("a", peer("*"), mode=AUDIT),), Stance.AUDIT, id="audit"),
        pytest.param((rule("a", peer("*"), mode=AUDIT), deny("d", peer("*"))), Stance.AUDIT, id="audit-and-enforced-deny"),
        pytest.param((rule("a", peer("*"), mode=AUDIT), allow("b", peer("*"))), Stance.ENFORCE, id="audit-beside-enforce"),
    ],
)
def test_stance(rules: tuple[Rule, ...], stance: Stance) -> None:
    """Only a rule that can allow makes a pod default-deny, and only if one of them is enforced."""
    assert policy(*rules).stance is stance


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        pytest.param((), {}, id="no-rule-grants-nothing"),
        pytest.param((ALLOW_A,), {"shop/a": "tcp/443"}, id="allowed"),
        pytest.param((rule("b", peer("b.example.net")),), {}, id="other-name"),
        pytest.param((rule("n", peer("192.0.2.0/24", on=["tcp/22"])),), {"shop/n": "tcp/22"}, id="by-address"),
        pytest.param((ALLOW_A, ALLOW_ALL), {"shop/a": "tcp/443", "shop/all": "any"}, id="union-each-its-own"),
        pytest.param((rule("x", peer("*", on=["tcp/1"]), peer("192.0.2.1/32", on=["tcp/2"])),), {"shop/x": "tcp/1-2"}, id="peers-united"),
        pytest.param((deny("d", peer("*.example.net")), ALLOW_ALL), {}, id="deny-first"),
        pytest.param((deny("d", peer("*.example.net", on=[WEB])), ALLOW_A), {}, id="deny-of-the-only-port"),
        pytest.param(
            (deny("d", peer("a.example.net", on=["tcp", "udp", "sctp"])), ALLOW_ALL), {"shop/all": "icmp other"}, id="deny-of-ports"
        ),
        pytest.param((deny("d", peer("192.0.2.0/24")), ALLOW_ALL), {}, id="deny-by-address"),
        pytest.param((deny("d", peer("*")), rule("dot", peer("*", on=["tcp/853"]))), {}, id="deny-of-any-is-a-deny-of-853-too"),
        pytest.param((ALLOW_ALL, rule("dot", peer("*", on=["udp/853"]))), {"shop/all": "any", "shop/dot": "udp/853"}, id="853-named"),
        pytest.param((allow("c", peer("*", on=[WEB])), ALLOW_A), {"c": "tcp/443"}, id="cluster-allow-decides"),
        pytest.param(
            (allow("c", peer("*", on=[WEB]), priority=1), deny("d", peer("*"), priority=2)), {"c": "tcp/443"}, id="priority-allow-first"
        ),
        pytest.param((allow("c", peer("*", on=[WEB]), priority=2), deny("d", peer("*"), priority=1)), {}, id="priority-deny-first"),
        pytest.param((allow("a", peer("*")), deny("b", peer("*"))), {}, id="equal-priority-deny-wins"),
        pytest.param((allow("a", peer("*")), leave("b", peer("*")), ALLOW_A), {"shop/a": "tcp/443"}, id="equal-priority-pass-before-allow"),
        pytest.param((leave("a", peer("*")), deny("b", peer("*")), ALLOW_A), {}, id="equal-priority-deny-before-pass"),
        pytest.param(
            (allow("b", peer("*", on=["tcp/1-9"])), allow("a", peer("*", on=["tcp/5-20"]))),
            {"a": "tcp/5-20", "b": "tcp/1-4"},
            id="equal-priority-by-name",
        ),
        pytest.param(
            (leave("p", peer("a.example.net"), priority=1), deny("d", peer("*"), priority=2), ALLOW_A),
            {"shop/a": "tcp/443"},
            id="pass-skips-later-cluster-rules",
        ),
        pytest.param(
            (leave("p", peer("a.example.net", on=[WEB]), priority=1), deny("d", peer("*"), priority=2), ALLOW_ALL),
            {"shop/all": "tcp/443"},
            id="pass-for-its-ports-only",
        ),
        pytest.param(
            (
                leave("p", peer("*", on=["tcp/1"]), priority=1),
                leave("q", peer("*", on=["tcp/2"]), priority=2),
                deny("d", peer("*"), priority=3),
                ALLOW_ALL,
            ),
            {"shop/all": "tcp/1-2"},
            id="passed-one-after-the-other",
        ),
        pytest.param(
            (
                deny("d", peer("*", on=["tcp/1"]), priority=1),
                allow("b", peer("*", on=["tcp/2"]), priority=2),
                allow("c", peer("*", on=["tcp/1"]), priority=3),
            ),
            {"b": "tcp/2"},
            id="decided-once-whatever-is-decided-after-it",
        ),
        pytest.param(
            (leave("p", peer("*"), priority=1), allow("c", peer("*"), priority=2), rule("none")), {}, id="passed-to-nobody-is-denied"
        ),
        pytest.param((rule("a", peer("*"), mode=AUDIT), rule("b", peer("*", on=[WEB]))), {"shop/b": "tcp/443"}, id="audit-opens-nothing"),
        pytest.param((deny("d", peer("*"), mode=AUDIT), ALLOW_A), {"shop/a": "tcp/443"}, id="audit-deny-takes-nothing"),
        pytest.param((leave("p", peer("*"), mode=AUDIT, priority=1), deny("d", peer("*")), ALLOW_A), {}, id="audit-pass-leaves-nothing"),
        pytest.param((rule("a", peer("*", on=[WEB]), mode=AUDIT),), {"shop/a": "tcp/443"}, id="audit-stance-grants-as-if-enforced"),
        pytest.param(
            (rule("a", peer("*", on=["tcp/1-9"]), mode=AUDIT), deny("d", peer("*", on=["tcp/5-9"]), mode=AUDIT)),
            {"shop/a": "tcp/1-4"},
            id="audit-stance-with-audit-deny",
        ),
        pytest.param(
            (
                leave("p", peer("*"), mode=AUDIT, priority=1),
                deny("d", peer("*", on=["tcp/5-9"]), priority=2),
                rule("a", peer("*", on=["tcp/1-9"]), mode=AUDIT),
            ),
            {"shop/a": "tcp/1-4"},
            id="audit-stance-an-enforced-deny-denies-behind-an-audit-pass",
        ),
        pytest.param(
            (leave("p", peer("*"), mode=AUDIT, priority=1), deny("d", peer("*"), priority=2), rule("a", peer("*"), mode=AUDIT)),
            {},
            id="audit-stance-denied-altogether-behind-an-audit-pass",
        ),
        pytest.param((deny("d", peer("b.example.net")),), {}, id="open-grants-nothing"),
    ],
)
def test_judge(rules: tuple[Rule, ...], expected: dict[str, str]) -> None:
    """What an answer 192.0.2.1 for a.example.net permits."""
    assert judge(policy(*rules), "a.example.net", OUTSIDE) == expected


NO = (False, False)
YES = (True, True)
PASSED = (True, False)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        pytest.param((), (*PASSED, Reason.NOT_SELECTED, ""), id="untouched"),
        pytest.param((ALLOW_A,), (*YES, Reason.ALLOWED, "shop/a"), id="allowed"),
        pytest.param((allow("c", peer("*")), ALLOW_A), (*YES, Reason.ALLOWED, "c"), id="allowed-by-cluster-rule"),
        pytest.param((rule("none"),), (*NO, Reason.NO_RULE, ""), id="no-rule"),
        pytest.param((rule("n", peer("0.0.0.0/0")),), (*NO, Reason.NO_RULE, ""), id="networks-resolve-nothing"),
        pytest.param((deny("d", peer("*.example.net")), ALLOW_ALL), (*NO, Reason.DENIED_BY_RULE, "d"), id="denied"),
        pytest.param((deny("d", peer("*", on=["tcp/25"])), ALLOW_ALL), (*YES, Reason.ALLOWED, "shop/all"), id="denied-one-port"),
        pytest.param((deny("d", peer("*", on=["tcp/25"])), rule("none")), (*NO, Reason.DENIED_BY_RULE, "d"), id="denied-and-nothing-else"),
        pytest.param(
            (deny("d", peer("192.0.2.0/24")), ALLOW_A), (*YES, Reason.ALLOWED, "shop/a"), id="denied-network-says-nothing-of-names"
        ),
        pytest.param((deny("d", peer("b.example.net")),), (*PASSED, Reason.ALLOWED, ""), id="open"),
        pytest.param((deny("d", peer("a.example.net")),), (*NO, Reason.DENIED_BY_RULE, "d"), id="open-denied"),
        pytest.param((deny("d", peer("*", on=[WEB])),), (*NO, Reason.DENIED_BY_RULE, "d"), id="open-denied-on-one-port"),
        pytest.param(
            (leave("p", peer("a.example.net"), priority=1), deny("d", peer("*", on=[WEB]))), (*PASSED, Reason.ALLOWED, ""), id="open-passed"
        ),
        pytest.param((deny("d", peer("*"), mode=AUDIT),), (*PASSED, Reason.ALLOWED, ""), id="open-audit-deny"),
        pytest.param((rule("a", peer("*"), mode=AUDIT),), (*YES, Reason.ALLOWED, "shop/a"), id="audit-allowed"),
        pytest.param((rule("b", peer("b.net"), mode=AUDIT),), (*PASSED, Reason.AUDIT_MODE, ""), id="audit-would-refuse"),
        pytest.param(
            (deny("d", peer("*"), mode=AUDIT), rule("a", peer("*"), mode=AUDIT)), (*PASSED, Reason.AUDIT_MODE, "d"), id="audit-would-deny"
        ),
        pytest.param((deny("d", peer("*")), rule("a", peer("*"), mode=AUDIT)), (*NO, Reason.DENIED_BY_RULE, "d"), id="audit-denied"),
        pytest.param(
            (deny("d", peer("*", on=["tcp/25"])), rule("a", peer("*"), mode=AUDIT)),
            (*YES, Reason.ALLOWED, "shop/a"),
            id="audit-denied-port",
        ),
        pytest.param(
            (allow("c", peer("*"), mode=AUDIT, priority=1), deny("d", peer("*"), priority=2)),
            (*YES, Reason.ALLOWED, "c"),
            id="audit-allow-before-deny",
        ),
        pytest.param((rule("a", peer("*"), mode=AUDIT), rule("b", peer("b.net"))), (*NO, Reason.NO_RULE, ""), id="audit-beside-enforce"),
        pytest.param((deny("d", peer("*"), mode=AUDIT), ALLOW_A), (*YES, Reason.ALLOWED, "shop/a"), id="audit-deny-beside-enforce"),
    ],
)
def test_judge_name(rules: tuple[Rule, ...], expected: tuple[bool, bool, Reason, str]) -> None:
    """What a question for a.example.net gets: resolved, granting, why, by which rule."""
    assert verdict(policy(*rules), "a.example.net") == expected


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        pytest.param((ALLOW_A,), (False, ""), id="enforced"),
        pytest.param((rule("none"),), (False, ""), id="refused"),
        pytest.param((rule("a", peer("*"), mode=AUDIT), rule("none")), (False, "shop/a"), id="audit-would-allow"),
        pytest.param((deny("d", peer("*"), mode=AUDIT), ALLOW_A), (True, "d"), id="audit-deny-would-refuse"),
        pytest.param((deny("d", peer("*", on=["tcp/1"]), mode=AUDIT), ALLOW_A), (False, ""), id="audit-deny-of-another-port"),
        pytest.param(
            (leave("p", peer("*"), mode=AUDIT, priority=1), deny("d", peer("*")), ALLOW_A), (False, "p"), id="audit-pass-would-allow"
        ),
        pytest.param((deny("d", peer("*"), mode=AUDIT), rule("none")), (False, ""), id="audit-deny-of-what-is-refused-anyway"),
        pytest.param((rule("b", peer("b.net"), mode=AUDIT),), (True, ""), id="audit-stance-no-rule"),
        pytest.param((deny("d", peer("*"), mode=AUDIT), rule("a", peer("*"), mode=AUDIT)), (True, "d"), id="audit-stance-audit-deny"),
        pytest.param((deny("d", peer("*")), rule("a", peer("*"), mode=AUDIT)), (False, ""), id="audit-stance-enforced-deny"),
        pytest.param((rule("a", peer("*"), mode=AUDIT),), (False, ""), id="audit-stance-allowed"),
        pytest.param((deny("d", peer("*"), mode=AUDIT),), (True, "d"), id="open-audit-deny"),
        pytest.param((deny("d", peer("b.net"), mode=AUDIT),), (False, ""), id="open-audit-deny-of-another"),
    ],
)
def test_audit_records_what_would_have_been(rules: tuple[Rule, ...], expected: tuple[bool, str]) -> None:
    """would_refuse, and the Audit rule that would make it another verdict."""
    assert recorded(policy(*rules), "a.example.net") == expected


UNFILTERED = PolicySettings(cluster_domain=parse_name("cluster.example"), is_dns_filtered=False)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        pytest.param((ALLOW_A,), NameVerdict(is_resolved=True, is_granting=True, reason=Reason.ALLOWED, rule=ALLOW_A.ref), id="allowed"),
        pytest.param((rule("none"),), NameVerdict(is_resolved=True, is_granting=False, reason=Reason.FILTER_OFF), id="no-rule"),
        pytest.param(
            (deny("d", peer("*")), ALLOW_A),
            NameVerdict(is_resolved=True, is_granting=False, reason=Reason.FILTER_OFF, rule=deny("d").ref),
            id="denied",
        ),
        pytest.param(
            (rule("b", peer("b.net"), mode=AUDIT),),
            NameVerdict(is_resolved=True, is_granting=False, reason=Reason.FILTER_OFF),
            id="audit-refuses-nothing-either",
        ),
        pytest.param(
            (deny("d", peer("*"), mode=AUDIT), ALLOW_A),
            NameVerdict(is_resolved=True, is_granting=True, reason=Reason.FILTER_OFF, audited=deny("d").ref),
            id="audit-deny",
        ),
        pytest.param(
            (rule("a", peer("*"), mode=AUDIT), rule("none")),
            NameVerdict(is_resolved=True, is_granting=False, reason=Reason.FILTER_OFF, audited=rule("a").ref),
            id="audit-would-allow",
        ),
        pytest.param((), NameVerdict(is_resolved=True, is_granting=False, reason=Reason.NOT_SELECTED), id="untouched"),
    ],
)
def test_filter_off_resolves_everything(rules: tuple[Rule, ...], expected: NameVerdict) -> None:
    """With `dnsFilter: off` every name resolves, and only the addresses are gated."""
    assert policy(*rules, settings=UNFILTERED).judge_name(parse_name("a.example.net")) == expected


def test_filter_off_grants_as_judged() -> None:
    """Addresses are granted for allowed names alone."""
    of = policy(ALLOW_A, settings=UNFILTERED)

    assert judge(of, "a.example.net", OUTSIDE) == {"shop/a": "tcp/443"}
    assert judge(of, "b.example.net", OUTSIDE) == {}


@pytest.mark.parametrize(
    ("rules", "is_written_out"),
    [
        pytest.param((ALLOW_ALL,), False, id="only-below-a-wildcard"),
        pytest.param((ALLOW_ALL, ALLOW_A), True, id="by-a-rule-beside-it"),
        pytest.param((ALLOW_ALL, rule("b", peer("*.a.example.net"))), False, id="as-a-wildcards-suffix"),
        pytest.param((ALLOW_ALL, deny("d", peer("a.example.net", on=["tcp/22"]))), False, id="by-a-deny"),
        pytest.param((ALLOW_ALL, leave("p", peer("a.example.net", on=["tcp/22"])), ALLOW_A), True, id="by-a-pass-and-a-rule"),
    ],
)
def test_a7_names_that_are_written_out(rules: tuple[Rule, ...], is_written_out: bool) -> None:
    """Only a rule that can allow vouches for a name."""
    assert policy(*rules).is_written_out(parse_name("a.example.net")) is is_written_out


def test_the_root_is_a_name_as_others_are() -> None:
    """`*` is every name, the root too."""
    assert verdict(policy(ALLOW_ALL), ".") == (*YES, Reason.ALLOWED, "shop/all")
    assert verdict(policy(ALLOW_A), ".") == (*NO, Reason.NO_RULE, "")
    assert verdict(policy(deny("d", peer("*")), ALLOW_ALL), ".") == (*NO, Reason.DENIED_BY_RULE, "d")


@pytest.mark.parametrize("name", ["cluster.example", "db.shop.svc.CLUSTER.example", "7.0.244.10.in-addr.arpa"])
def test_names_of_the_cluster_resolve_and_grant_nothing(name: str) -> None:
    """They are the cluster's business, whatever the rules say, even if a rule allows them or their address."""
    of = policy(deny("d", peer("*.example")), rule("all", peer("*"), peer("192.0.2.0/24")))

    assert verdict(of, name) == (*PASSED, Reason.CLUSTER_NAME, "")
    assert judge(of, name, OUTSIDE) == {}


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "10.244.1.1", "192.0.2.250", "198.51.100.7", "::1", "::ffff:192.0.2.1", "2001:db8:c1::1", "64:ff9b::a9fe:a9fe"],
)
def test_a1_no_name_ever_opens_a_protected_address(address: str) -> None:
    """Not even where a CIDR of the same rule does."""
    of = policy(rule("all", peer("*", "0.0.0.0/0", "::/0", f"{address}/{32 if '.' in address and ':' not in address else 128}")))

    assert judge(of, "a.example.net", address) == {}


@pytest.mark.parametrize(
    ("rules", "address", "expected"),
    [
        pytest.param((ALLOW_ALL,), OUTSIDE, {}, id="names-do-not-count"),
        pytest.param((rule("n", peer("192.0.2.0/24", on=["tcp/22"])),), OUTSIDE, {"shop/n": "tcp/22"}, id="network"),
        pytest.param((rule("n", peer("::/0")),), OUTSIDE, {}, id="other-family"),
        pytest.param((rule("n", peer("::/0")),), "2001:db8::1", {"shop/n": "any"}, id="ipv6"),
        pytest.param(
            (rule("n", peer("192.0.2.0/24", on=["tcp/1"]), peer("192.0.0.0/16", on=["tcp/2"])),),
            OUTSIDE,
            {"shop/n": "tcp/1-2"},
            id="nested",
        ),
        pytest.param((deny("d", peer("192.0.2.0/25")), rule("n", peer("192.0.2.0/24"))), OUTSIDE, {}, id="denied"),
        pytest.param((deny("d", peer("192.0.2.0/25")), rule("n", peer("192.0.2.0/24"))), "192.0.2.200", {"shop/n": "any"}, id="not-denied"),
        pytest.param((rule("n", peer("169.254.169.254/32")),), "169.254.169.254", {"shop/n": "any"}, id="a1-inside-protected"),
        pytest.param((rule("n", peer("0.0.0.0/0")),), "169.254.169.254", {}, id="a1-everything-does-not-open-protected"),
        pytest.param((rule("n", peer("198.51.100.0/24")),), "198.51.100.1", {"shop/n": "any"}, id="protected-by-the-operator"),
        pytest.param((rule("n", peer("198.51.100.0/23")),), "198.51.100.1", {}, id="half-inside-opens-nothing"),
        pytest.param(
            (deny("d", peer("0.0.0.0/0")), rule("n", peer("169.254.169.254/32"))),
            "169.254.169.254",
            {},
            id="a-wide-deny-counts-for-protected",
        ),
        pytest.param(
            (leave("p", peer("0.0.0.0/0"), priority=1), deny("d", peer("169.254.0.0/16")), rule("n", peer("169.254.169.254/32"))),
            "169.254.169.254",
            {"shop/n": "any"},
            id="a-wide-pass-counts-for-protected",
        ),
        pytest.param((deny("d", peer("0.0.0.0/0")),), OUTSIDE, {}, id="open"),
        pytest.param((), OUTSIDE, {}, id="untouched"),
    ],
)
def test_judge_address(rules: tuple[Rule, ...], address: str, expected: dict[str, str]) -> None:
    """What the rules' CIDRs alone permit; a protected address only if they lie wholly inside a protected range."""
    assert told(policy(*rules).judge_address(packed(address))) == expected


def test_permit_carries_its_rules_terms() -> None:
    """Limits, pieces and the hash of what it rests on."""
    limits = LeaseLimits(min_seconds=1, max_seconds=2, grace_seconds=3)
    (permit,) = policy(rule("a", peer("*", on=["tcp/1-9"]), limits=limits), deny("d", peer("*", on=["tcp/5"]))).judge(
        parse_name("a.example.net"), packed(OUTSIDE)
    )

    assert permit.limits == limits
    assert permit.ports == ports("tcp/1-4", "tcp/6-9")
    assert [(piece.low, piece.high) for piece in permit.pieces] == [(1, 4), (6, 9)]
    assert len(permit.basis) == 32


@pytest.mark.parametrize(
    ("parent", "other"),
    [
        pytest.param("a.example.net", "b.example.net", id="neighbours"),
        # As octets these are alike but for the first: "1" is the length of what comes next, too.
        pytest.param(f"1.{'x' * ord('1')}", f"11{'x' * ord('1')}", id="alike-behind-the-first-octet"),
    ],
)
def test_names_are_judged_by_their_own_parents(parent: str, other: str) -> None:
    """What is remembered of one parent's names says nothing about another's."""
    of = policy(rule("a", peer(f"*.{parent}")))

    assert [of.judge_name(parse_name(f"www.{each}")).is_resolved for each in (parent, other, parent)] == [True, False, True]


def test_memory_is_bounded_and_invisible(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of names empties the memory instead of growing it, and every answer stays the same."""
    for bound in ("MEMORY", "PARENTS"):
        monkeypatch.setattr(snapshots, bound, 4)
    of = policy(ALLOW_A, rule("n", peer("*.example.net", on=["udp/53"]), peer("192.0.2.1/32", on=["tcp/1"])))
    asked = [(parse_name(f"x.p{n}.example.net"), packed(f"192.0.2.{n}")) for n in range(9)]
    first, sizes = [], []
    for name, address in asked:
        first.append(of.judge(name, address))
        sizes.append(len(of._by_parent))

    assert [of.judge(*question) for question in asked] == first
    assert sizes == [1, 2, 3, 4, 1, 2, 3, 4, 1]
    assert max(len(of._by_hits), len(of._reaches)) <= 4


@pytest.mark.parametrize("rules", [(ALLOW_A,), (ALLOW_A, rule("n", peer("192.0.2.1/32", on=["tcp/1"])))], ids=["names", "networks"])
def test_policy_says_what_is_protected(rules: tuple[Rule, ...]) -> None:
    """What its settings protect, each once, whatever its rules' networks are."""
    found = policy(*rules).protected_among(map(packed, ("169.254.169.254", OUTSIDE, "::1", "192.0.2.1", "::1")))

    assert found == (packed("169.254.169.254"), packed("::1"))


def test_judgements_are_remembered() -> None:
    """The second look costs one look-up: the same values, not equal ones."""
    of = policy(ALLOW_A, rule("n", peer("192.0.2.1/32", on=["tcp/1"])))
    name = parse_name("a.example.net")

    assert of.judge_name(name) is of.judge_name(name)
    assert of.judge(name, packed(OUTSIDE)) is of.judge(name, packed(OUTSIDE))
    assert of.judge_address(packed(OUTSIDE)) is of.judge_address(packed(OUTSIDE))


def test_is_protected_is_at_hand_beside_the_snapshot() -> None:
    """The forwarder takes protected addresses out of answers."""
    taken = snapshot(ALLOW_A)

    assert taken.protection.covers(packed("10.244.0.1"))
    assert snapshots.is_protected(SETTINGS, packed("169.254.169.254"))
    assert not snapshots.is_protected(SETTINGS, packed(OUTSIDE))
