"""Writes the corpus that fuzzing starts from: `python fuzz/seeds.py` makes the same files each time, below fuzz/corpus.

Each file is one thing that a real peer sends, so that the fuzzer begins behind the first checks.
"""

from collections.abc import Iterator
from pathlib import Path
from struct import pack

from nft import codec, ctcodec, elements
from nft import objects as nft

HERE = Path(__file__).resolve().parent
_NAME = b"\x03www\x07example\x03net\x00"
_TO_QUESTION = b"\xc0\x0c"
_MARKED = nft.Set(nft.Table("t"), "m", ("ipv4_addr", "inet_proto", "inet_service"), "mark", frozenset({"timeout"}))
_ETHER = nft.Set(nft.Table("t"), "s", ("ether_addr",), flags=frozenset({"timeout"}))
_VERDICTS = nft.Set(nft.Table("t"), "v", ("ipv6_addr",), "verdict")
_NETWORKS = nft.Set(nft.Table("t"), "n", ("ipv4_addr",), flags=frozenset({"interval"}))
_PORTS = nft.Set(nft.Table("t"), "p", ("ipv4_addr", "inet_service"), flags=frozenset({"interval"}))

# ---- messages


def query(additional: bytes = b"", count: int = 0, *, qtype: int = 1, flags: int = 0x0100) -> bytes:
    return pack(">6H", 0x1234, flags, 1, 0, 0, count) + _NAME + pack(">HH", qtype, 1) + additional


def record(rtype: int, rdata: bytes, owner: bytes = _TO_QUESTION, ttl: int = 60, rclass: int = 1) -> bytes:
    return owner + pack(">HHIH", rtype, rclass, ttl, len(rdata)) + rdata


def response(
    *answers: bytes, authority: tuple[bytes, ...] = (), additional: tuple[bytes, ...] = (), qtype: int = 1, flags: int = 0x8180
) -> bytes:
    head = pack(">6H", 0x1234, flags, 1, len(answers), len(authority), len(additional))
    return head + _NAME + pack(">HH", qtype, 1) + b"".join((*answers, *authority, *additional))


def opt(options: bytes = b"", ttl: int = 0x8000) -> bytes:
    return record(41, options, b"\0", ttl, 1232)


def address(last: int) -> bytes:
    return bytes((198, 51, 100, last))


def messages() -> Iterator[tuple[str, bytes]]:
    soa = record(6, b"\x02ns" + _TO_QUESTION + b"\x04mail" + _TO_QUESTION + pack(">5I", 1, 3600, 600, 86400, 300), b"\xc0\x10")
    svcb = pack(">H", 1) + b"\0" + pack(">HH", 1, 3) + b"\x02h2" + pack(">HH", 4, 4) + address(1)
    yield "query", query()
    yield "query-edns", query(opt(), 1)
    yield "query-options", query(opt(pack(">HH8s", 10, 8, b"cookies!") + pack(">HHHBB3s", 8, 7, 1, 24, 0, b"\xc0\0\2")), 1)
    yield "query-tsig", query(record(250, b"\x04hmac\0" + bytes(16), _NAME, rclass=255), 1)
    yield "query-any", query(qtype=255)
    yield "query-notify", query(flags=0x2400)
    yield "answer-a", response(record(1, address(1)), record(1, address(2), ttl=0))
    yield "answer-aaaa", response(record(28, b"\x20\x01\x0d\xb8" + bytes(11) + b"\1"), qtype=28, additional=(opt(),))
    yield "answer-mapped", response(record(28, bytes(10) + b"\xff\xff" + address(1)), qtype=28)
    chain = [record(5, b"\x01a" + b"\xc0\x10"), record(5, b"\x01b" + b"\xc0\x10", b"\x01a\xc0\x10", ttl=0x80000000)]
    yield "answer-chain", response(*chain, record(1, address(3), b"\x01b\xc0\x10"), additional=(opt(),))
    yield "answer-loop", response(record(5, _TO_QUESTION), record(1, address(4)))
    yield "answer-truncated", response(record(1, address(5)), flags=0x8380)
    yield "answer-nxdomain", response(authority=(soa,), additional=(opt(),), flags=0x8183)
    yield "answer-nodata", response(authority=(soa,), qtype=28)
    yield "answer-servfail", pack(">6H", 0x1234, 0x8182, 0, 0, 0, 0)
    yield "answer-opt-first", response(record(1, address(6)), additional=(opt(), record(1, address(7), b"\x02ns" + _TO_QUESTION)))
    yield "answer-name-in-header", response(record(16, b"\1x", b"\4name\xc0\x0b"), qtype=16, additional=(opt(),))
    yield "answer-glue", response(authority=(record(2, b"\x02ns" + _TO_QUESTION, b"\xc0\x10"),), additional=(record(1, address(8)), opt()))
    yield "answer-mx", response(record(15, b"\0\x0a\x02mx\xc0\x10"), record(1, address(9), b"\x02mx\xc0\x10"), qtype=15)
    yield "answer-srv", response(record(33, pack(">HHH", 1, 2, 443) + _NAME), additional=(opt(), record(1, address(10))), qtype=33)
    yield "answer-naptr", response(record(35, pack(">HH", 1, 2) + b"\x01u\x03sip\x05!a!b!" + _NAME), record(1, address(9)), qtype=35)
    yield "answer-https", response(record(65, svcb), additional=(record(1, address(11)), opt()), qtype=65)
    yield "answer-txt", response(record(16, b"\x05hello\x05world"), qtype=16, additional=(opt(pack(">HHH", 15, 2, 22)),))
    yield "answer-rrsig", response(record(1, address(12)), record(46, pack(">HBBIIIH", 1, 8, 3, 60, 2, 1, 7) + _NAME + bytes(32)))
    yield "answer-many", response(*(record(1, address(last)) for last in range(60)))
    yield from dear_messages()


def dear_messages() -> Iterator[tuple[str, bytes]]:
    """As much as the bounds of `answer` and `rewrite` and 64 kB let through, so that fuzzing measures it, too."""
    both = [record(1 if place % 2 else 28, place.to_bytes(4 if place % 2 else 16, "big")) for place in range(640)]
    owned = [record(1, address(place), bytes((2, 97 + place // 26, 97 + place % 26, 0))) for place in range(98)]
    services = [record(33, pack(">HHHBH", 1, 2, 443, 2, place) + _TO_QUESTION, ttl=place) for place in range(127)]
    # 4,090 would fill 64 kB; dnspython, the other opinion, takes minutes for those.
    yield "dear-addresses", response(*(record(1, pack(">I", place), ttl=place) for place in range(1100)))
    yield "dear-both-families", response(*both)
    yield "dear-owners", response(*owned, *[record(16, b"\1x")] * 542)
    yield "dear-written-anew", response(*[record(16, b"\1x", ttl=place) for place in range(319)], record(1, address(1)))
    yield "dear-services-written-anew", response(*services, record(1, address(1)))
    yield "dear-names-written-anew", response(record(1, address(1)), *(record(2, b"\1a" * 60 + bytes((1, 97 + k, 0))) for k in range(16)))


# ---- netlink


def entry(family: int, size: int, protocol: bytes) -> bytes:
    """A ctnetlink entry, from its nfgenmsg on."""
    first = 1 if size == 4 else 3
    ways = [codec.nested(1, *(codec.attribute(first + side, bytes([way ^ side]) * size) for side in (0, 1))) for way in (1, 2)]
    tuples = (codec.nested(way, ways[way - 1], codec.nested(2, protocol)) for way in (1, 2))
    return bytes([family, 0, 0, 0]) + b"".join(tuples) + codec.be32(8, 0x50000) + codec.be32(12, 0xABCD)


def netlink() -> Iterator[tuple[str, bytes]]:
    key = nft.pack_key(address(1), b"\6", b"\1\xbb")
    marked, ether = elements.SetCoder(_MARKED), elements.SetCoder(_ETHER)
    ports = codec.attribute(1, b"\6") + codec.attribute(2, b"\x9c\x40") + codec.attribute(3, b"\1\xbb")
    icmp = codec.attribute(1, b"\1") + codec.attribute(4, b"\0\7") + codec.attribute(5, b"\x08") + codec.attribute(6, b"\0")
    inner = pack("=IHHII", 20, 0xA0C, 1, 7, 0)
    notes = codec.text(1, "why") + codec.attribute(2, pack("=I", 64))
    refused = pack("=i", -17) + inner + notes
    counter = codec.nested(7, codec.text(1, "counter"), codec.nested(2, codec.be64(1, 999), codec.be64(2, 7)))
    element = codec.nested(1, codec.nested(1, codec.attribute(1, b"\2" * 6)))
    yield "elements-marked", marked.pack(key, 0x50000, 30_000) + marked.pack(key, 0x60000, 40_000)
    yield "elements-untimed", marked.pack(key, 0x50000, None)
    yield "elements-plain", ether.pack(b"\2" * 6, None, 30_000)
    yield "elements-counted", element + codec.nested(1, codec.nested(1, codec.attribute(1, b"\3" * 6)), counter)
    yield "elements-verdict", elements.SetCoder(_VERDICTS).pack(bytes(16), nft.Verdict("goto", "policy_1"), None)
    yield "elements-interval", elements.SetCoder(_NETWORKS).pack(address(0), None, None, address(255))
    yield "elements-range", elements.SetCoder(_PORTS).pack(key[:4] + b"\0\1\0\0", None, None, key[:4] + b"\1\0\0\0")
    yield "inside-key", codec.nested(1, codec.attribute(1, b"\2" * 6)) + codec.be64(4, 5000) + codec.be64(5, 4000)
    yield "inside-catchall", codec.be32(3, 2)
    yield "flow-tcp4", entry(2, 4, ports)
    yield "flow-tcp6", entry(10, 16, ports)
    yield "flow-icmp", entry(2, 4, icmp)
    yield "datagram-elements", codec.message(elements.NEW, 2, 1, 1, codec.nested(3, marked.pack(key, 1, 30_000))) * 2
    yield "datagram-refused", pack("=IHHII", 16 + len(refused), 2, 0x300, 7, 0) + refused
    yield "datagram-ack", pack("=IHHIIi", 36, 2, 0x100, 0x41, 1, 0) + bytes(16)
    yield "datagram-done", pack("=IHHIIi", 20, 3, 2, 0x41, 1, 0)
    yield "datagram-flow", pack("=IHHII", 16 + len(entry(2, 4, ports)), ctcodec.NEW, 2, 1, 0) + entry(2, 4, ports)


# ---- rules

_RULE = """apiVersion: dnsfw.io/v1alpha1
kind: FQDNEgressRule
metadata: {name: app1, namespace: shop}
spec:
  podSelector: {matchLabels: {app: app1}, matchExpressions: [{key: tier, operator: NotIn, values: [db]}]}
  serviceAccountNames: [checkout]
  mode: Audit
  auditUntil: "2027-01-31T00:00:00Z"
  egress:
  - toFQDNs: ["*.example.net", "api.example.org"]
    ports: [{port: 443}, {protocol: UDP, port: 8000, endPort: 9000}, {protocol: ICMP}]
  - toCIDRs: ["198.51.100.0/24", "2001:db8::/64"]
  ttl: {minSeconds: 30, maxSeconds: 3600, graceSeconds: 10}
"""
_CLUSTER = """apiVersion: dnsfw.io/v1alpha1
kind: ClusterFQDNEgressRule
metadata:
  name: base
spec:
  priority: 100
  action: Deny
  namespaceSelector: {}
  podSelector: {}
  egress:
  - toFQDNs:
    - "*"
    ports:
    - port: 25
"""
_POD = """apiVersion: v1
kind: Pod
metadata:
  name: web
  namespace: shop
  uid: 3f1c
  labels: {app: app1}
spec: {serviceAccountName: checkout, nodeName: node1}
status: {podIPs: [{ip: 192.0.2.1}, {ip: "2001:db8::1"}], phase: Running}
"""
_SIMPLE = "".join(line for line in _RULE.splitlines(keepends=True) if not line.startswith(("  mode", "  audit", "  service")))


def rules() -> Iterator[tuple[str, bytes]]:
    items = "".join("- " + _POD.replace("\n", "\n  ").rstrip().replace("3f1c", uid).replace("web", uid) + "\n" for uid in ("a", "b"))
    texts = {
        "rule": _RULE,
        "cluster": _CLUSTER,
        "pod": _POD,
        "all": "---\n".join((_SIMPLE, _CLUSTER, _POD)),
        "namespace": "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {pci: 'true'}}\n",
        "list": f"apiVersion: v1\nitems:\n{items}kind: List\nmetadata:\n  resourceVersion: ''\n",
        "empty-list": "apiVersion: v1\nkind: List\nitems: []\n",
        "json": '{"apiVersion": "v1", "kind": "PodList", "items": [{"metadata": {"name": "\\ud83d\\ude00", "namespace": "shop"}}]}',
        "alias": _RULE.replace('["*.example.net", "api.example.org"]', "[*.example.net]"),
        "anchor": _POD.replace("{app: app1}", "&a {app: *a}"),
        "tag": _POD.replace("3f1c", "!!binary aGVsbG8="),
        "block": _POD.replace("  uid: 3f1c\n", "  annotations:\n    note: |\n      - x\n      ---x\n    other: >-\n      y\n  uid: 3f1c\n"),
        "words": _POD.replace("app: app1", "a: on, b: 0x1f, c: ~, d: 1_0, e: .inf"),
    }
    for name, text in texts.items():
        yield name, text.encode()


CORPORA = {"wire": messages, "netlink": netlink, "rules": rules}


def write(folder: Path) -> None:
    for target, make in CORPORA.items():
        (folder / target).mkdir(parents=True, exist_ok=True)
        for name, data in make():
            (folder / target / name).write_bytes(data)


if __name__ == "__main__":
    write(HERE / "corpus")
