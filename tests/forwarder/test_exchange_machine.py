"""An exchange under any order of events: what is always true of it."""

from math import inf

from exchanges import AUDITED, NOBODY, OPEN, SELECTED, SENDER, SETTINGS, T0, UNTOUCHED
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from small_world import UNFILTERED, allow, deny, subject
from wire_messages import ANSWERED, TO_QUESTION, a, ask, cname, packed, read, response, soa

from dnsfw.audit.record import QueryRecord
from dnsfw.forwarder.answer import Answer, parse_response
from dnsfw.forwarder.events import (
    Aborted,
    Ask,
    DeadlinePassed,
    Effect,
    EnsureGrants,
    Event,
    GrantsSettled,
    Identified,
    Identity,
    Received,
    Record,
    Replied,
    Respond,
    UpstreamFailed,
    WaitForPod,
)
from dnsfw.forwarder.exchange import Exchange
from dnsfw.policy.grants import Granted, GrantOutcome, NotGranted
from dnsfw.policy.reasons import Reason
from dnsfw.policy.snapshot import Stance, Subject

METADATA = "169.254.169.254"
SUBJECTS = [
    SELECTED,
    NOBODY,
    OPEN,
    UNTOUCHED,
    AUDITED,
    subject(allow("*"), deny("www.example.net")),
    subject(allow("*.example.net"), settings=UNFILTERED),
]
IDENTITIES = st.one_of(st.sampled_from(SUBJECTS), st.sampled_from([Reason.UNKNOWN_POD, Reason.UNKNOWN_SOURCE, Reason.NOT_READY]))
NAMES = ["www.example.net", "x.example.org", "db.cluster.local"]
ANSWERS = {
    text: [
        response(a("192.0.2.1", 90), text=text),
        response(a("192.0.2.1"), a(METADATA), text=text),
        response(a(METADATA), text=text),
        response(cname(TO_QUESTION, "x.example.org"), a("192.0.2.9", owner="x.example.org"), text=text),
        response(a("192.0.2.1"), text=text, flags=ANSWERED | 3),
        response(authority=(soa(5),), text=text),
    ]
    for text in NAMES
}
OUTCOMES: st.SearchStrategy[GrantOutcome] = st.one_of(
    st.builds(Granted, until=st.just(inf), ttl=st.integers(0, 100), grants=st.integers(1, 3)),
    st.builds(NotGranted, reason=st.sampled_from([Reason.RULES_CHANGED, Reason.KERNEL_FAILED, Reason.POD_QUOTA])),
)


class ExchangeMachine(RuleBasedStateMachine):
    """Plays the service, fairly or not: any event at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = T0
        self.effects: list[Effect] = []
        self.granted: Granted | None = None
        self.ensured: EnsureGrants | None = None
        self.identity: Identity = Reason.NOT_READY

    @initialize(text=st.sampled_from(NAMES))
    def begin(self, text: str) -> None:
        self.text = text
        self.query = ask(text, edns=True)
        self.exchange = Exchange(self.query, SENDER, SETTINGS, self.now)

    def tell(self, event: Event) -> None:
        was_done = self.exchange.is_done
        effects = self.exchange.handle(event, self.now)
        assert not (was_done and effects)
        self.effects += effects
        for effect in effects:
            if isinstance(effect, EnsureGrants):
                self.ensured, self.granted = effect, None

    @rule(seconds=st.floats(0, 1))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    def meet(self, identity: Identity) -> None:
        """Who it is at the end counts; what is heard later changes nothing."""
        if not self.exchange.is_done:
            self.identity = identity

    @rule(identity=IDENTITIES)
    def identified(self, identity: Identity) -> None:
        self.meet(identity)
        self.tell(Identified(identity))

    @rule(data=st.data(), identity=IDENTITIES, age=st.integers(0, 100), is_cached=st.booleans())
    def replied(self, data: st.DataObject, identity: Identity, age: int, is_cached: bool) -> None:
        message = data.draw(st.sampled_from(ANSWERS[self.text]))
        self.meet(identity)
        self.tell(Replied(Received(message, read(message, self.text), self.now), identity, age, is_cached))

    @rule(outcome=OUTCOMES, identity=IDENTITIES)
    def settled(self, outcome: GrantOutcome, identity: Identity) -> None:
        if self.ensured is not None and isinstance(outcome, Granted):
            self.granted = outcome
        self.tell(GrantsSettled(outcome, identity))

    @precondition(lambda self: self.now > T0 + 2)
    @rule(event=st.sampled_from([DeadlinePassed(), UpstreamFailed(Reason.UPSTREAM_TIMEOUT), Aborted(Reason.STOPPING, SELECTED)]))
    def ended(self, event: Event) -> None:
        self.tell(event)

    @property
    def responses(self) -> list[bytes]:
        return [effect.data for effect in self.effects if isinstance(effect, Respond)]

    @property
    def records(self) -> list[QueryRecord]:
        return [effect.record for effect in self.effects if isinstance(effect, Record)]

    @invariant()
    def one_response_and_one_record(self) -> None:
        """Both at the end, neither before, never two."""
        if not hasattr(self, "exchange"):
            return
        ended = int(self.exchange.is_done)
        assert (len(self.responses), len(self.records)) == (ended, ended)
        if ended:
            assert self.responses[0][:2] == b"\0\7"
            assert self.records[0].rcode == self.responses[0][3] & 15

    @invariant()
    def no_address_before_its_grant(self) -> None:
        """For a pod under Enforce: what was answered was granted before, for at least as long; nothing protected is in it."""
        for data, record in zip(self.responses, self.records, strict=True):
            answer = parse_response(data, self.query.key)
            assert isinstance(answer, Answer)
            if record.pod == "" or record.decision == "passed" or not answer.addresses:
                continue
            if self.subject_at_end().policy.stance is Stance.ENFORCE:
                assert self.ensured is not None and self.granted is not None
                assert set(answer.addresses) <= set(self.ensured.addresses)
                assert answer.ttl <= self.granted.ttl
                assert packed(METADATA) not in data

    def subject_at_end(self) -> Subject:
        if self.ensured is not None:
            return self.ensured.subject
        assert isinstance(self.identity, Subject)
        return self.identity

    @invariant()
    def what_is_refused_is_never_asked(self) -> None:
        """One question upstream at most, and none for a name that its pod may not ask at that time."""
        assert sum(isinstance(effect, Ask) for effect in self.effects) <= 1
        assert sum(isinstance(effect, WaitForPod) for effect in self.effects) <= 1
        if any(isinstance(effect, Ask) for effect in self.effects) or not self.records:
            return
        assert self.records[0].addresses == ""

    @invariant()
    def protected_addresses_are_never_asked_for(self) -> None:
        for effect in self.effects:
            if isinstance(effect, EnsureGrants):
                assert packed(METADATA) not in effect.addresses
                assert effect.addresses


TestExchangeMachine = ExchangeMachine.TestCase
