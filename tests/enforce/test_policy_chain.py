"""A policy's chains, walked as the kernel does, say what the policy says of an address."""

from ipaddress import ip_address, ip_network

from enforce_kit import LISTENER4
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import allow, deny, leave, packed, peer, policy, rule

from dnsfw.enforce.layout import Layout
from dnsfw.enforce.numbers import OPEN_RULE
from dnsfw.enforce.policy_chain import chain_name, policy_chains, rule_token
from dnsfw.enforce.settings import EnforceSettings
from dnsfw.enforce.survivors import judged_by_steps
from dnsfw.policy.model import Mode, Rule, RuleRef
from dnsfw.policy.protected import protected_networks
from dnsfw.policy.snapshot import Policy, Stance

LAYOUT = Layout(EnforceSettings(listener4=LISTENER4))
NETWORKS = ("0.0.0.0/0", "203.0.113.0/24", "203.0.113.0/25", "169.254.169.254/32", "169.254.0.0/16", "198.51.100.0/25", "2001:db8:5::/48")
ADDRESSES = (
    "203.0.113.5",
    "203.0.113.200",
    "169.254.169.254",
    "169.254.1.1",
    "198.51.100.7",
    "192.0.2.7",
    "2001:db8:5::1",
    "2001:db8:6::1",
)
PORTS = (("tcp/443",), ("tcp/22", "udp/53-60"), ("icmp",), ())


def walk(of: Policy, address: str, protocol: int, port: int) -> str:
    """The way of a packet through the texts of the chains: the map that gives its number, `open`, or `refuse`."""
    chains = {chain.name: body for chain, body in policy_chains(LAYOUT, of).items()}
    at = chain_name(of)
    while at in chains:
        at = next(target for text in chains[at] if (target := step(of, text, address, protocol, port)))
    return at


def step(of: Policy, text: str, address: str, protocol: int, port: int) -> str:
    """Where a rule sends the packet; "" if it does not match, or only counts."""
    word = "ip6" if ":" in address else "ip"
    if "daddr" in text and not text.startswith(f"{word} daddr"):
        return ""
    if "@protected" in text:
        networks = protected_networks(of.settings)
        return text.rpartition(" ")[2] if any(ip_address(address) in network for network in networks) else ""
    if "daddr {" in text:
        inside = text[text.index("{") + 1 : text.index("}")]
        if not any(ip_address(address) in ip_network(each.strip()) for each in inside.split(",")):
            return ""
        if not matches_port(text[text.index("}") + 1 :], protocol, port):
            return ""
    if "jump" in text or text.endswith(("@would4", "@would6")):
        return ""
    if "map @open" in text:
        return "open" if text.startswith(f"ct mark set {word} ") else ""
    return text[text.index("@") + 1 :].split(maxsplit=1)[0] if "map @rule" in text else text.rpartition(" ")[2]


def matches_port(text: str, protocol: int, port: int) -> bool:
    names = {6: "tcp", 17: "udp", 132: "sctp"}
    if "l4proto !=" in text:
        return protocol not in {1, 6, 17, 58, 132}
    if "l4proto {" in text:
        return protocol in {1, 58}
    name, _, rest = text.strip().partition(" dport { ")
    spans = [each.strip().partition("-") for each in rest.partition(" }")[0].split(",")]
    return names.get(protocol) == name and any(int(low) <= port <= int(high or low) for low, _, high in spans)


targets = st.lists(st.sampled_from(NETWORKS), min_size=1, max_size=2, unique=True)
on = st.sampled_from(PORTS)
peers = st.builds(lambda networks, ports: peer(*networks, on=ports), targets, on)
rules = st.one_of(
    st.builds(rule, st.sampled_from(["one", "two"]), peers),
    st.builds(lambda each: rule("watch", each, mode=Mode.AUDIT), peers),
    st.builds(lambda each, priority: deny(f"deny{priority}", each, priority=priority), peers, st.sampled_from([10, 50])),
    st.builds(lambda each, priority: leave(f"leave{priority}", each, priority=priority), peers, st.sampled_from([20, 50])),
    st.builds(lambda each, priority: allow(f"allow{priority}", each, priority=priority), peers, st.sampled_from([30, 50])),
)
packets = st.tuples(st.sampled_from(ADDRESSES), st.sampled_from([(6, 443), (6, 22), (17, 53), (1, 0), (47, 0), (6, 853)]))


def distinct(found: list[Rule]) -> list[Rule]:
    return list({each.ref: each for each in found}.values())


@settings(max_examples=150, deadline=None)
@given(found=st.lists(rules, min_size=1, max_size=4).map(distinct), packet=packets)
def test_chains_say_what_the_policy_says(found: list[Rule], packet: tuple[str, tuple[int, int]]) -> None:
    """Order, Deny, Pass, protected addresses and ports: the kernel's walk, survivors' and the policy's own judgement agree."""
    of, (address, (protocol, port)) = policy(*found), packet
    if of.stance is Stance.UNTOUCHED:
        return
    went = walk(of, address, protocol, port)
    by_steps = judged_by_steps(of, packed(address), protocol, port if protocol in {6, 17} else None)

    assert went == named(by_steps, 6 if ":" in address else 4)
    if of.stance is Stance.ENFORCE:
        permits = of.judge_address(packed(address))
        allowed = any(permit.ports.contains(protocol, port if protocol in {6, 17} else None) for permit in permits)
        assert allowed == (by_steps is not None)


def named(found: RuleRef | None, digit: int) -> str:
    if found is None:
        return "refuse"
    return "open" if found == OPEN_RULE else f"rule_{rule_token(found)}_{digit}"


def test_a1_a_wide_deny_holds_for_metadata_too() -> None:
    """The Deny of everything stands before the Allow of one protected address."""
    of = policy(deny("all", peer("0.0.0.0/0")), rule("metadata", peer("169.254.169.254/32", on=["tcp/80"])))

    assert walk(of, "169.254.169.254", 6, 80) == "refuse"
    assert walk(policy(rule("metadata", peer("169.254.169.254/32", on=["tcp/80"]))), "169.254.169.254", 6, 80).startswith("rule_")


def test_every_chain_ends_closed() -> None:
    """Where no number was free, the map that gives it has nothing for the pod: the packet is refused, never let through unmarked."""
    rules = [[rule("web", peer("203.0.113.0/24"), mode=mode)] for mode in Mode] + [[deny("no", peer("203.0.113.0/24"))]]
    rules.append([leave("pass", peer("203.0.113.0/25")), *rules[0]])
    bodies = [body for some in rules for body in policy_chains(LAYOUT, policy(*some)).values()]

    assert {body[-1] for body in bodies} == {"goto refuse"}
