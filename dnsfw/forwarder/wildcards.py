"""What is refused though a wildcard allows the name: what tunnels are made of (A7), and the browsers' question for another resolver (A8).

Pure. Always true: a name that a rule writes out is never refused here; pods that are not held to their rules are not held to this.
"""

from dnsfw.forwarder.settings import ForwarderSettings
from dnsfw.forwarder.wire import Query
from dnsfw.names import labels_of, parse_name
from dnsfw.policy.reasons import Reason
from dnsfw.policy.snapshot import NameVerdict, Policy, Stance

# NXDOMAIN tells Firefox that the network has a resolver of its own, to be asked instead of one over HTTPS that no answer of ours follows:
# support.mozilla.org/kb/canary-domain-use-application-dnsnet
CANARY = parse_name("use-application-dns.net")


def refusal_below_wildcard(query: Query, policy: Policy, verdict: NameVerdict, settings: ForwarderSettings) -> Reason | None:
    """`verdict` has allowed the name; None where that stands."""
    reason = _reason(query, settings)
    if reason is None or policy.stance is not Stance.ENFORCE or verdict.reason is not Reason.ALLOWED or policy.is_written_out(query.name):
        return None
    return reason


def has_limits(settings: ForwarderSettings) -> bool:
    """Whether more than the browsers' canary is refused below wildcards."""
    return bool(settings.wildcard_refused_types or settings.wildcard_name_octets or settings.wildcard_label_octets)


def _reason(query: Query, settings: ForwarderSettings) -> Reason | None:
    name = query.name
    if name == CANARY:
        return Reason.DOH_CANARY
    if query.qtype in settings.wildcard_refused_types:
        return Reason.WILDCARD_TYPE
    if settings.wildcard_name_octets and len(name) > settings.wildcard_name_octets:
        return Reason.WILDCARD_LENGTH
    if settings.wildcard_label_octets and max(map(len, labels_of(name)), default=0) > settings.wildcard_label_octets:
        return Reason.WILDCARD_LENGTH
    return None
