"""Kubernetes' names, labels and LabelSelectors, held to Kubernetes' own rules.

Pure. An empty selector selects everything, so one that is there but has no value is refused rather than taken as empty.
"""

import re

from dnsfw.policy.model import Operator, Requirement, Selector
from dnsfw.policy.reader import Field
from dnsfw.policy.tree import shorten

_LABEL_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", re.ASCII)
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", re.ASCII)
_WORD = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?", re.ASCII)

# https://kubernetes.io/docs/concepts/overview/working-with-objects/names/ and .../labels/#syntax-and-character-set
LABEL_NAME_RIGHT = "lower-case letters, digits and '-', at most 63, a letter or digit at both ends"
SUBDOMAIN_RIGHT = "lower-case letters, digits, '-' and '.', at most 253, a letter or digit at both ends of each part"
WORD_RIGHT = "letters, digits, '-', '_' and '.', at most 63, a letter or digit at both ends"


def parse_dns_label(field: Field) -> str:
    """A namespace's name (RFC 1123 label)."""
    text = field.text()
    if len(text) > 63 or not _LABEL_NAME.fullmatch(text):
        raise field.refused(f'"{shorten(text)}" is not a valid name', LABEL_NAME_RIGHT)
    return text


def parse_dns_subdomain(field: Field) -> str:
    """The name of a pod, a rule, a service account or a node (RFC 1123 subdomain)."""
    text = field.text()
    if len(text) > 253 or not _SUBDOMAIN.fullmatch(text):
        raise field.refused(f'"{shorten(text)}" is not a valid name', SUBDOMAIN_RIGHT)
    return text


def parse_labels(field: Field) -> dict[str, str]:
    """Labels as an object carries them; Kubernetes has checked their form."""
    return {key: value for key in field.mapping() for value in _texts(field, key)}


def _texts(field: Field, key: str) -> tuple[str, ...]:
    return field.optional(key, lambda value: (value.text(),), ())


def parse_selector(field: Field) -> Selector:
    if field.node.value is None:
        raise field.refused("is empty", "{} selects everything")
    field.allow_only("matchLabels", "matchExpressions")
    labels = field.optional("matchLabels", _match_labels, ())
    return Selector(labels, field.optional("matchExpressions", _match_expressions, ()))


def _match_labels(field: Field) -> tuple[tuple[str, str], ...]:
    return tuple((_label_key(field.child(key), key), value) for key in sorted(field.mapping()) for value in _label_values(field, key))


def _label_values(field: Field, key: str) -> tuple[str, ...]:
    return field.optional(key, lambda value: (_label_value(value),), ())


def _label_key(field: Field, key: str) -> str:
    prefix, slash, word = key.rpartition("/")
    if len(word) > 63 or not _WORD.fullmatch(word):
        raise field.refused(f'"{shorten(key)}" is not a label key', f"an optional DNS prefix and '/', then {WORD_RIGHT}")
    if slash and (len(prefix) > 253 or not _SUBDOMAIN.fullmatch(prefix)):
        raise field.refused(f'"{shorten(prefix)}" is not the prefix of a label key', SUBDOMAIN_RIGHT)
    return key


def _label_value(field: Field) -> str:
    text = field.text()
    if text and (len(text) > 63 or not _WORD.fullmatch(text)):
        raise field.refused(f'"{shorten(text)}" is not a label value', f"empty, or {WORD_RIGHT}")
    return text


def _match_expressions(field: Field) -> tuple[Requirement, ...]:
    return field.each(_requirement)


def _requirement(field: Field) -> Requirement:
    field.allow_only("key", "operator", "values")
    key = field.required("key", lambda key: _label_key(key, key.text()), "")
    operator = field.required("operator", _operator, None, "one of In, NotIn, Exists, DoesNotExist")
    values = field.optional("values", lambda values: values.each(_label_value), ())
    if operator in (Operator.IN, Operator.NOT_IN) and not values:
        raise field.refused(f"{operator.value} needs values", "at least one entry in `values`")
    if operator in (Operator.EXISTS, Operator.DOES_NOT_EXIST) and values:
        raise field.refused(f"{operator.value} takes no values", "leave `values` out, or use In or NotIn")
    return Requirement(key, operator or Operator.EXISTS, values)


def _operator(field: Field) -> Operator:
    return Operator(field.choice(operator.value for operator in Operator))
