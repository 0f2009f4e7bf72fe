"""Why a query got what it got: one closed list, the same words in audit records, metrics and explanations."""

from enum import Enum


class Reason(Enum):
    """The value is the word that operators see and filter by."""

    ALLOWED = "allowed"
    NOT_SELECTED = "not-selected"
    CLUSTER_NAME = "cluster-name"
    FILTER_OFF = "dns-filter-off"
    AUDIT_MODE = "audit-mode"
    NO_RULE = "no-rule"
    DENIED_BY_RULE = "denied-by-rule"
    PROTECTED_ADDRESS = "protected-address"
    UNKNOWN_SOURCE = "unknown-source"
    UNKNOWN_POD = "unknown-pod"
    ADDRESS_CONFLICT = "address-conflict"
    NOT_READY = "not-ready"
    KERNEL_FAILED = "kernel-failed"
    KERNEL_TIMEOUT = "kernel-timeout"
    RULES_CHANGED = "rules-changed"
    POD_QUOTA = "pod-quota"
    NODE_QUOTA = "node-quota"
    NO_NUMBER = "no-decision-number"
    QUEUE_FULL = "queue-full"
    UPSTREAM_FAILED = "upstream-failed"
    UPSTREAM_TIMEOUT = "upstream-timeout"
    MALFORMED_ANSWER = "malformed-answer"
    MALFORMED_QUERY = "malformed-query"
    NOT_SUPPORTED = "not-supported"
    STOPPING = "stopping"
