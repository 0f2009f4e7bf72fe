"""FQDNEgressRule and ClusterFQDNEgressRule -> Rule, exactly as the contract has them.

Pure. Unknown fields are refused: a rule whose misspelt field is skipped does something else than its author thinks.
"""

import re
from datetime import datetime
from functools import partial

from dnsfw.policy.model import Action, LeaseLimits, Mode, Peer, Rule, RuleRef, Selector
from dnsfw.policy.parse_labels import parse_dns_label, parse_dns_subdomain, parse_selector
from dnsfw.policy.parse_peers import parse_peer
from dnsfw.policy.reader import Field
from dnsfw.policy.tree import shorten

API_VERSION = "dnsfw.io/v1alpha1"
LONGEST_LEASE_S = 7 * 86400
HIGHEST_PRIORITY = 1000

_SPEC = ("podSelector", "serviceAccountNames", "mode", "auditUntil", "egress", "ttl")
_CLUSTER_SPEC = ("priority", "action", "namespaceSelector", *_SPEC)
# https://kubernetes.io/docs/reference/generated/kubernetes-api/ ObjectMeta: read by nobody here, but `kubectl get -o yaml` prints them.
_METADATA = (
    *("name", "namespace", "uid", "labels", "annotations", "generateName", "resourceVersion", "generation", "creationTimestamp"),
    *("deletionTimestamp", "deletionGracePeriodSeconds", "finalizers", "ownerReferences", "managedFields", "selfLink"),
)
# RFC 3339 section 5.6; fromisoformat alone also takes dates without a time or a zone.
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_NOBODY = RuleRef(namespace="", name="")
_NOTHING = Rule(ref=_NOBODY, selector=Selector(), peers=())


def parse_rule(field: Field, *, is_cluster: bool) -> Rule:
    field.allow_only("apiVersion", "kind", "metadata", "spec", "status")
    ref = field.required("metadata", partial(_metadata, is_cluster=is_cluster), _NOBODY)
    return field.required("spec", partial(_spec, ref=ref, is_cluster=is_cluster), _NOTHING)


def _metadata(field: Field, *, is_cluster: bool) -> RuleRef:
    field.allow_only(*_METADATA)
    name = field.required("name", parse_dns_subdomain, "")
    uid = field.optional("uid", Field.text, "")
    if not is_cluster:
        return RuleRef(namespace=field.optional("namespace", parse_dns_label, "default"), name=name, uid=uid)
    if field.has("namespace"):
        field.child("namespace").note("a cluster rule has no namespace", "leave it out, or use kind FQDNEgressRule")
    return RuleRef(namespace="", name=name, uid=uid)


def _spec(field: Field, *, ref: RuleRef, is_cluster: bool) -> Rule:
    field.allow_only(*(_CLUSTER_SPEC if is_cluster else _SPEC))
    return Rule(
        ref=ref,
        selector=field.required("podSelector", parse_selector, Selector(), "podSelector: {} selects every pod"),
        peers=field.required("egress", _peers, (), "egress: [] reaches nothing"),
        service_accounts=field.optional("serviceAccountNames", _service_accounts, ()),
        mode=field.optional("mode", _mode, Mode.ENFORCE),
        audit_until=field.optional("auditUntil", _moment, None),
        limits=field.optional("ttl", _limits, LeaseLimits()),
        action=field.required("action", _action, Action.ALLOW, "Allow, Deny or Pass") if is_cluster else Action.ALLOW,
        priority=field.required("priority", _priority, 0, f"0 to {HIGHEST_PRIORITY}, lower is judged first") if is_cluster else None,
        namespace_selector=field.optional("namespaceSelector", parse_selector, Selector()) if is_cluster else None,
    )


def _peers(field: Field) -> tuple[Peer, ...]:
    if field.node.value is None:
        raise field.refused("is empty", "egress: [] reaches nothing")
    return field.each(parse_peer)


def _service_accounts(field: Field) -> tuple[str, ...]:
    if field.node.value == []:
        raise field.refused("is an empty list", "leave serviceAccountNames out to select by labels alone")
    return field.each(parse_dns_subdomain)


def _mode(field: Field) -> Mode:
    return Mode(field.choice(mode.value for mode in Mode))


def _action(field: Field) -> Action:
    return Action(field.choice(action.value for action in Action))


def _priority(field: Field) -> int:
    return field.integer(0, HIGHEST_PRIORITY)


def _moment(field: Field) -> float:
    text = field.text()
    try:
        if _RFC3339.fullmatch(text):
            return datetime.fromisoformat(text.upper()).timestamp()
    except (ValueError, OverflowError):
        pass
    raise field.refused(f'"{shorten(text)}" is not a date and time with a zone', 'RFC 3339, such as "2027-01-31T00:00:00Z"')


def _limits(field: Field) -> LeaseLimits:
    """A bound that is given wins over the other's default: `maxSeconds: 5` alone is 5 seconds."""
    field.allow_only("minSeconds", "maxSeconds", "graceSeconds")
    usual = LeaseLimits()
    lowest = field.optional("minSeconds", _lease_seconds, None)
    highest = field.optional("maxSeconds", _lease_seconds, None)
    grace = field.optional("graceSeconds", lambda value: value.integer(0, LONGEST_LEASE_S), usual.grace_seconds)
    if lowest is not None and highest is not None and lowest > highest:
        raise field.refused(f"minSeconds {lowest} is above maxSeconds {highest}", "minSeconds <= maxSeconds")
    low = min(usual.min_seconds, highest or usual.max_seconds) if lowest is None else lowest
    return LeaseLimits(min_seconds=low, max_seconds=max(usual.max_seconds, low) if highest is None else highest, grace_seconds=grace)


def _lease_seconds(field: Field) -> int:
    return field.integer(1, LONGEST_LEASE_S)
