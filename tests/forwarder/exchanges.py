"""An exchange, its events and how it ends, for tests."""

import dns.message
from small_world import SOURCE, allow, deny, subject
from wire_messages import ask, read

from dnsfw.audit.record import QueryRecord
from dnsfw.forwarder.account import Sender
from dnsfw.forwarder.events import (
    Effect,
    Event,
    Identified,
    Identity,
    Received,
    Record,
    Replied,
    Respond,
)
from dnsfw.forwarder.exchange import Exchange
from dnsfw.forwarder.settings import ForwarderSettings
from dnsfw.forwarder.wire import Query
from dnsfw.policy.grants import NotGranted
from dnsfw.policy.model import Mode
from dnsfw.policy.reasons import Reason

SETTINGS = ForwarderSettings(listen=(), upstreams=())
SENDER = Sender(source=SOURCE, transport="udp", at=5.0)
OVER_TCP = Sender(source=SOURCE, transport="tcp", at=5.0)
T0 = 1000.0
ONE, METADATA = "192.0.2.1", "169.254.169.254"
SELECTED = subject(allow("*.example.net"))
NOBODY = subject(allow())
UNTOUCHED = subject()
OPEN = subject(deny("*.example.org"))
AUDITED = subject(allow("*.example.net", mode=Mode.AUDIT))
CHANGED = NotGranted(Reason.RULES_CHANGED)


def exchange_of(asked: Query | None = None, *, sender: Sender = SENDER, settings: ForwarderSettings = SETTINGS) -> Exchange:
    return Exchange(ask() if asked is None else asked, sender, settings, T0)


def replied(data: bytes, identity: Identity, *, asked: Query | None = None, age: int = 0, is_cached: bool = False) -> Replied:
    answer = read(data) if asked is None else read(data, qtype=asked.qtype, text=".".join(labels(asked)))
    return Replied(Received(data, answer, T0), identity, age, is_cached)


def labels(asked: Query) -> list[str]:
    rest, found = asked.name, []
    while rest[0]:
        found.append(rest[1 : rest[0] + 1].decode())
        rest = rest[rest[0] + 1 :]
    return found


def ends(effects: tuple[Effect, ...]) -> tuple[bytes, QueryRecord]:
    """The response and the record, which must be all there is."""
    respond, record = effects
    assert isinstance(respond, Respond) and isinstance(record, Record)
    return respond.data, record.record


def rcode(data: bytes) -> int:
    return data[3] & 15


def ede(data: bytes) -> list[tuple[int, str | None]]:
    return [(int(option.code), option.text) for option in dns.message.from_wire(data).options]


def run(exchange: Exchange, *events: Event) -> tuple[Effect, ...]:
    """The effects of the last event; time passes 0.25 s an event."""
    effects: tuple[Effect, ...] = ()
    for step, event in enumerate(events):
        effects = exchange.handle(event, T0 + step / 4)
    return effects


def through(identity: Identity, data: bytes, *, asked: Query | None = None, sender: Sender = SENDER) -> tuple[Effect, ...]:
    """Identified, asked, answered."""
    return run(exchange_of(asked, sender=sender), Identified(identity), replied(data, identity, asked=asked))
