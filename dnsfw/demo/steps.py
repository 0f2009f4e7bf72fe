"""One step of the story: what was tried, what should happen, what did.

Pure, but for the trying itself, which the laboratory's pods do.
"""

from dataclasses import dataclass

from dnsfw.demo.lab import Pod
from dnsfw.demo.results import Answer, Outcome

NO_SUCH_NAME = "no such name"
CONNECTED = "connected"
NO_CONNECTION = "no connection"
_FAST_MS = 500.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """`ms`: how long it took from the pod's view."""

    tried: str
    expected: str
    happened: str
    is_as_expected: bool
    ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """Steps that belong together; `says` is what they are to show, in one sentence."""

    title: str
    says: str
    steps: tuple[Step, ...]


def fetches(pod: Pod, name: str, port: int = 443, qtype: str = "A") -> Step:
    """Resolve, then connect at once: this must work."""
    answer = pod.resolve(name, qtype)
    tried = f"{pod.identity.name} → {name}:{port}{family(qtype)}"
    if not answer.addresses:
        return Step(tried=tried, expected=CONNECTED, happened=said(answer), is_as_expected=False, ms=answer.ms)
    outcome = pod.connect(answer.address, port)
    return Step(tried=tried, expected=CONNECTED, happened=became(outcome), is_as_expected=outcome.is_connected, ms=answer.ms + outcome.ms)


def reaches(pod: Pod, what: str, address: str, port: int) -> Step:
    """An address that a rule names: this must work without any question."""
    outcome = pod.connect(address, port)
    tried = f"{pod.identity.name} → {what} {at(address, port)}"
    return Step(tried=tried, expected=CONNECTED, happened=became(outcome), is_as_expected=outcome.is_connected, ms=outcome.ms)


def is_closed(pod: Pod, what: str, address: str, port: int, protocol: str = "tcp") -> Step:
    """This must be refused, and fast: by RST or ICMP, not by silence."""
    outcome = pod.connect(address, port, protocol)
    label = "" if protocol == "tcp" else f" {protocol.upper()}"
    return Step(
        tried=f"{pod.identity.name} → {what} {at(address, port)}{label}",
        expected=NO_CONNECTION,
        happened=became(outcome),
        is_as_expected=outcome.what in ("refused", "unreachable") and outcome.ms < _FAST_MS,
        ms=outcome.ms,
    )


def has_no_name(pod: Pod, name: str, qtype: str = "A", **how: object) -> Step:
    """The name must be refused, as NXDOMAIN that says that it was blocked (EDE 15, RFC 8914)."""
    answer = pod.resolve(name, qtype, **how)  # type: ignore[arg-type]  # the keywords of `resolve`, passed through
    server = f" {how['server']}" if "server" in how else ""
    return Step(
        tried=f"{pod.identity.name} asks{server} for {name}{family(qtype)}{' over TCP' if how.get('is_tcp') else ''}",
        expected=NO_SUCH_NAME,
        happened=said(answer),
        is_as_expected=answer.rcode == "NXDOMAIN" and 15 in answer.ede,
        ms=answer.ms,
    )


def holds(tried: str, expected: str, happened: str, *, is_so: bool, ms: float = 0.0) -> Step:
    """Anything else."""
    return Step(tried=tried, expected=expected, happened=happened, is_as_expected=is_so, ms=ms)


def became(outcome: Outcome) -> str:
    """An ICMP error with its type and code; of an errno, nobody needs the name."""
    _, _, icmp = outcome.detail.partition(" ")
    return f"{outcome.what}, {icmp}" if icmp else outcome.what


def said(answer: Answer) -> str:
    ede = f", EDE {answer.ede[0]}" if answer.ede else ""
    if answer.addresses:
        return f"{', '.join(answer.addresses)}{ede}"
    return f"{'no address' if answer.rcode == 'NOERROR' else answer.rcode}{ede}"


def at(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def family(qtype: str) -> str:
    return " (IPv6)" if qtype == "AAAA" else ""
