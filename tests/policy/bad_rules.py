"""Rule documents with one fault each, for tables: what is wrong, where, and what would be right."""

from typing import NamedTuple

HEAD = """apiVersion: dnsfw.io/v1alpha1
kind: FQDNEgressRule
metadata: {name: app1, namespace: shop}
spec:
"""
CLUSTER_HEAD = """apiVersion: dnsfw.io/v1alpha1
kind: ClusterFQDNEgressRule
metadata: {name: base}
spec:
"""
SELECT = "  podSelector: {}\n"
EGRESS = "  egress: []\n"
SUBDOMAIN = "lower-case letters, digits, '-' and '.', at most 253, a letter or digit at both ends of each part"
LABEL = "lower-case letters, digits and '-', at most 63, a letter or digit at both ends"
WORD = "letters, digits, '-', '_' and '.', at most 63, a letter or digit at both ends"
LONG = "a" * 100
PEER = '  egress:\n  - toFQDNs: ["www.example.net"]\n'


class Bad(NamedTuple):
    """`line`, `path`, `what`, `right`: of the only problem."""

    text: str
    line: int
    path: str
    what: str
    right: str = ""


def spec(text: str, line: int, path: str, what: str, right: str = "") -> Bad:
    """A fault in an FQDNEgressRule's spec; line 1 is the first below `spec:`."""
    return Bad(HEAD + text, 4 + line, path, what, right)


def cluster(text: str, line: int, path: str, what: str, right: str = "") -> Bad:
    return Bad(CLUSTER_HEAD + text, 4 + line, path, what, right)


def names(listed: str, what: str, right: str = "", path: str = "spec.egress[0].toFQDNs[0]") -> Bad:
    return spec(f"{SELECT}  egress:\n  - toFQDNs: {listed}\n", 3, path, what, right)


def networks(listed: str, what: str, right: str = "", path: str = "spec.egress[0].toCIDRs[0]") -> Bad:
    return spec(f"{SELECT}  egress:\n  - toCIDRs: {listed}\n", 3, path, what, right)


def ports(listed: str, path: str, what: str, right: str = "") -> Bad:
    return spec(f"{SELECT}{PEER}    ports: {listed}\n", 4, f"spec.egress[0].ports{path}", what, right)


def selector(text: str, path: str, what: str, right: str = "") -> Bad:
    return spec(f"  podSelector: {text}\n{EGRESS}", 1, f"spec.podSelector{path}", what, right)


def ttl(text: str, path: str, what: str, right: str = "") -> Bad:
    return spec(f"{SELECT}{EGRESS}  ttl: {text}\n", 3, f"spec.ttl{path}", what, right)


def metadata(text: str, path: str, what: str, right: str = "") -> Bad:
    return Bad(HEAD.replace("{name: app1, namespace: shop}", text) + SELECT + EGRESS, 3, f"metadata{path}", what, right)


BAD_RULES = {
    # What the document is
    "kind-missing": Bad("apiVersion: v1\n", 1, "", "has no kind", "one of FQDNEgressRule, ClusterFQDNEgressRule, Pod, Namespace or List"),
    "kind-misspelt": Bad(
        "apiVersion: dnsfw.io/v1alpha1\nkind: FQDNEgressrule\n",
        2,
        "kind",
        '"FQDNEgressrule" is not read here',
        'did you mean "FQDNEgressRule"?',
    ),
    "kind-foreign": Bad(
        "apiVersion: apps/v1\nkind: Deployment\n",
        2,
        "kind",
        '"Deployment" is not read here',
        "one of FQDNEgressRule, ClusterFQDNEgressRule, Pod, Namespace or List",
    ),
    "kind-no-text": Bad("apiVersion: v1\nkind: [Pod]\n", 2, "kind", "must be text, is a list"),
    "version-missing": Bad("kind: FQDNEgressRule\n", 1, "", "has no apiVersion", "apiVersion: dnsfw.io/v1alpha1"),
    "version-other": Bad(
        "kind: FQDNEgressRule\napiVersion: dnsfw.io/v1\n", 2, "apiVersion", '"dnsfw.io/v1" is not read here', "dnsfw.io/v1alpha1"
    ),
    "version-number": Bad("kind: Pod\napiVersion: 1\n", 2, "apiVersion", "must be text, is the number 1", 'write it in quotes: "1"'),
    "document-is-list": Bad("- a\n", 1, "", "must be a mapping, is a list"),
    "document-is-text": Bad("hello\n", 1, "", 'must be a mapping, is the text "hello"'),
    "field-unknown": Bad(HEAD + SELECT + EGRESS + "sepc: {}\n", 7, "sepc", "unknown field", 'did you mean "spec"?'),
    "spec-missing": Bad(HEAD.replace("spec:\n", ""), 1, "spec", "is missing"),
    "spec-empty": Bad(HEAD, 4, "spec", "must be a mapping, is empty"),
    "metadata-missing": Bad(HEAD.replace("metadata: {name: app1, namespace: shop}\n", "") + SELECT + EGRESS, 1, "metadata", "is missing"),
    # Who it is
    "name-missing": metadata("{namespace: shop}", ".name", "is missing"),
    "name-upper-case": metadata(
        "{name: App1}",
        ".name",
        '"App1" is not a valid name',
        SUBDOMAIN,
    ),
    "name-too-long": metadata(
        f"{{name: {'a' * 254}}}",
        ".name",
        f'"{LONG[:80]}…" is not a valid name',
        SUBDOMAIN,
    ),
    "name-a-number": metadata("{name: 443}", ".name", "must be text, is the number 443", 'write it in quotes: "443"'),
    "name-with-line-end": metadata(
        '{name: "a\\n"}',
        ".name",
        '"a\\n" is not a valid name',
        right=SUBDOMAIN,
    ),
    "namespace-dotted": metadata(
        "{name: a, namespace: a.b}",
        ".namespace",
        '"a.b" is not a valid name',
        LABEL,
    ),
    "namespace-too-long": metadata(
        f"{{name: a, namespace: {'a' * 64}}}",
        ".namespace",
        f'"{LONG[:64]}" is not a valid name',
        right=LABEL,
    ),
    "namespace-misspelt": metadata("{name: a, namspace: shop}", ".namspace", "unknown field", 'did you mean "namespace"?'),
    "namespace-of-cluster-rule": Bad(
        CLUSTER_HEAD.replace("{name: base}", "{name: base, namespace: x}") + SELECT + EGRESS + "  priority: 1\n  action: Deny\n",
        *(3, "metadata.namespace", "a cluster rule has no namespace", "leave it out, or use kind FQDNEgressRule"),
    ),
    "uid-a-number": metadata("{name: a, uid: 7}", ".uid", "must be text, is the number 7", right='write it in quotes: "7"'),
    # Whom it selects
    "selector-missing": spec(EGRESS, 0, "spec.podSelector", "is missing", "podSelector: {} selects every pod"),
    "selector-empty": selector("", "", "is empty", "{} selects everything"),
    "selector-a-list": selector("[a]", "", "must be a mapping, is a list"),
    "selector-flat": selector("{app: a}", ".app", "unknown field", "known here: matchLabels, matchExpressions"),
    "labels-empty": selector("{matchLabels: }", ".matchLabels", "must be a mapping, is empty"),
    "label-a-number": selector(
        "{matchLabels: {v: 1.10}}", ".matchLabels.v", "must be text, is the number 1.10", 'write it in quotes: "1.10"'
    ),
    "label-a-boolean": selector(
        "{matchLabels: {v: yes}}", ".matchLabels.v", "must be text, is the boolean yes", 'write it in quotes: "yes"'
    ),
    "label-value-bad": selector(
        '{matchLabels: {v: "a b"}}',
        ".matchLabels.v",
        '"a b" is not a label value',
        right=f"empty, or {WORD}",
    ),
    "label-value-long": selector(
        f"{{matchLabels: {{v: {'a' * 64}}}}}",
        ".matchLabels.v",
        f'"{LONG[:64]}" is not a label value',
        f"empty, or {WORD}",
    ),
    "label-key-bad": selector(
        '{matchLabels: {"a b": c}}',
        ".matchLabels.a b",
        '"a b" is not a label key',
        right="an optional DNS prefix and '/', then letters, digits, '-', '_' and '.', at most 63, a letter or digit at both ends",
    ),
    "label-prefix-bad": selector(
        "{matchLabels: {A_/b: c}}",
        ".matchLabels.A_/b",
        '"A_" is not the prefix of a label key',
        right=SUBDOMAIN,
    ),
    "label-key-long": selector(
        f"{{matchLabels: {{{LONG[:64]}: c}}}}",
        f".matchLabels.{LONG[:64]}",
        f'"{LONG[:64]}" is not a label key',
        f"an optional DNS prefix and '/', then {WORD}",
    ),
    "label-prefix-long": selector(
        f"{{matchLabels: {{{'a.' * 126}aa/b: c}}}}",
        f".matchLabels.{'a.' * 40}…",
        f'"{"a." * 40}…" is not the prefix of a label key',
        SUBDOMAIN,
    ),
    "expression-key-bad": selector(
        '{matchExpressions: [{key: "a b", operator: Exists}]}',
        ".matchExpressions[0].key",
        '"a b" is not a label key',
        f"an optional DNS prefix and '/', then {WORD}",
    ),
    "operator-missing": selector(
        "{matchExpressions: [{key: a}]}", ".matchExpressions[0].operator", "is missing", "one of In, NotIn, Exists, DoesNotExist"
    ),
    "operator-misspelt": selector(
        "{matchExpressions: [{key: a, operator: in, values: [b]}]}",
        ".matchExpressions[0].operator",
        '"in" is not known',
        'did you mean "In"?',
    ),
    "operator-without-values": selector(
        "{matchExpressions: [{key: a, operator: In}]}", ".matchExpressions[0]", "In needs values", right="at least one entry in `values`"
    ),
    "operator-with-values": selector(
        "{matchExpressions: [{key: a, operator: Exists, values: [b]}]}",
        ".matchExpressions[0]",
        "Exists takes no values",
        "leave `values` out, or use In or NotIn",
    ),
    "expressions-no-list": selector("{matchExpressions: {key: a}}", ".matchExpressions", "must be a list, is a mapping"),
    "accounts-empty": spec(
        SELECT + EGRESS + "  serviceAccountNames: []\n",
        3,
        "spec.serviceAccountNames",
        "is an empty list",
        "leave serviceAccountNames out to select by labels alone",
    ),
    "account-bad": spec(
        SELECT + EGRESS + "  serviceAccountNames: [A]\n",
        3,
        "spec.serviceAccountNames[0]",
        '"A" is not a valid name',
        right=SUBDOMAIN,
    ),
    "accounts-no-list": spec(
        SELECT + EGRESS + "  serviceAccountNames: a\n", 3, "spec.serviceAccountNames", 'must be a list, is the text "a"'
    ),
    # What it lets them reach
    "egress-missing": spec(SELECT, 0, "spec.egress", "is missing", "egress: [] reaches nothing"),
    "egress-empty": spec(SELECT + "  egress:\n", 2, "spec.egress", "is empty", "egress: [] reaches nothing"),
    "egress-misspelt-peer": spec(
        SELECT + "  egress:\n  - toFQDN: [a]\n    toCIDRs: [192.0.2.0/24]\n",
        3,
        "spec.egress[0].toFQDN",
        "unknown field",
        'did you mean "toFQDNs"?',
    ),
    "peer-empty": spec(SELECT + "  egress:\n  - {}\n", 3, "spec.egress[0]", "names no destination", "toFQDNs, toCIDRs or both"),
    "peer-only-ports": spec(
        SELECT + "  egress:\n  - ports: [{port: 1}]\n", 3, "spec.egress[0]", "names no destination", right="toFQDNs, toCIDRs or both"
    ),
    "peer-a-text": spec(
        SELECT + "  egress:\n  - www.example.net\n", 3, "spec.egress[0]", 'must be a mapping, is the text "www.example.net"'
    ),
    "names-empty": names("[]", "has 0 entries", "1 to 25", "spec.egress[0].toFQDNs"),
    "names-too-many": names(
        f"[{', '.join(f'n{i}.example.net' for i in range(26))}]", "has 26 entries", "1 to 25", "spec.egress[0].toFQDNs"
    ),
    "names-a-text": names("www.example.net", 'must be a list, is the text "www.example.net"', path="spec.egress[0].toFQDNs"),
    "name-pattern-inside": names('["*.exa*mple.net"]', 'pattern "*.exa*mple.net": "*" must be the whole first label'),
    "name-star-star": names('["**.example.net"]', 'pattern "**.example.net": "*" must be the whole first label'),
    "name-u-label": names('["bücher.example"]', 'pattern "bücher.example": write its A-label: "xn--bcher-kva.example"'),
    "name-with-scheme": names(
        '["https://www.example.net"]',
        'pattern "https://www.example.net": "https://www" may have letters, digits, hyphens and underscores only',
    ),
    "name-empty": names('[""]', 'pattern "": empty; "*" is every name'),
    "name-a-number-pattern": names("[1.5]", "must be text, is the number 1.5", 'write it in quotes: "1.5"'),
    "name-null": names("[~]", "must be text, is empty"),
    "name-empty-label": names('["a..example"]', 'pattern "a..example": a label is empty'),
    "cidr-host-bits": networks("[10.0.0.1/8]", '"10.0.0.1/8" has host bits set', 'write "10.0.0.0/8"'),
    "cidr-host-bits-v6": networks('["2001:db8::1/64"]', '"2001:db8::1/64" has host bits set', 'write "2001:db8::/64"'),
    "cidr-no-prefix": networks("[192.0.2.1]", '"192.0.2.1" is not in canonical form', 'write "192.0.2.1/32"'),
    "cidr-upper-case": networks('["2001:DB8::/32"]', '"2001:DB8::/32" is not in canonical form', 'write "2001:db8::/32"'),
    "cidr-netmask": networks("[192.0.2.0/255.255.255.0]", '"192.0.2.0/255.255.255.0" is not in canonical form', 'write "192.0.2.0/24"'),
    "cidr-prefix-too-long": networks(
        "[192.0.2.0/33]", '"192.0.2.0/33" is not a CIDR', "such as 203.0.113.0/24, 192.0.2.1/32 or 2001:db8::/64"
    ),
    "cidr-a-name": networks(
        "[www.example.net]", '"www.example.net" is not a CIDR', "such as 203.0.113.0/24, 192.0.2.1/32 or 2001:db8::/64"
    ),
    "cidr-leading-zeros": networks(
        "[192.000.2.0/24]", '"192.000.2.0/24" is not a CIDR', right="such as 203.0.113.0/24, 192.0.2.1/32 or 2001:db8::/64"
    ),
    "cidrs-empty": networks("[]", "has 0 entries", "1 to 1000", "spec.egress[0].toCIDRs"),
    # On which ports
    "ports-empty": ports("[]", "", "is an empty list", "leave `ports` out to allow every port"),
    "port-zero": ports("[{port: 0}]", "[0].port", "0 is out of range", "1 to 65535"),
    "port-too-high": ports("[{port: 65536}]", "[0].port", "65536 is out of range", "1 to 65535"),
    "port-text": ports('[{port: "443"}]', "[0].port", 'must be an integer, is the text "443"', "a plain decimal number from 1 to 65535"),
    "port-octal": ports(
        "[{port: 0443}]", "[0].port", "must be an integer, is the number 0443", right="a plain decimal number from 1 to 65535"
    ),
    "port-hexadecimal": ports(
        "[{port: 0x1bb}]", "[0].port", "must be an integer, is the number 0x1bb", right="a plain decimal number from 1 to 65535"
    ),
    "port-fraction": ports(
        "[{port: 443.0}]", "[0].port", "must be an integer, is the number 443.0", right="a plain decimal number from 1 to 65535"
    ),
    "port-boolean": ports(
        "[{port: true}]", "[0].port", "must be an integer, is the boolean true", right="a plain decimal number from 1 to 65535"
    ),
    "port-huge": ports(
        "[{port: 99999999999999999999}]",
        "[0].port",
        "must be an integer, is the number 99999999999999999999",
        right="a plain decimal number from 1 to 65535",
    ),
    "port-bare": ports("[443]", "[0]", "must be a mapping, is the number 443"),
    "port-entry-empty": ports("[{}]", "[0]", "is empty", "a port, a protocol or both"),
    "port-backwards": ports("[{port: 10, endPort: 9}]", "[0].endPort", "9 is below port 10", "10 to 65535"),
    "end-without-port": ports("[{endPort: 9}]", "[0]", "endPort without port", right="`port` says where the range begins"),
    "protocol-unknown": ports("[{protocol: tcp}]", "[0].protocol", '"tcp" is not known', 'did you mean "TCP"?'),
    "protocol-far-off": ports("[{protocol: 17}]", "[0].protocol", "must be text, is the number 17", right='write it in quotes: "17"'),
    "icmp-with-port": ports("[{protocol: ICMP, port: 8}]", "[0]", "ICMP has no ports", right="leave `port` and `endPort` out"),
    "icmp-with-end-port": ports("[{protocol: ICMP, endPort: 8}]", "[0]", "ICMP has no ports", right="leave `port` and `endPort` out"),
    "port-field-unknown": ports("[{port: 1, endport: 2}]", "[0].endport", "unknown field", 'did you mean "endPort"?'),
    "ports-too-many": ports(f"[{', '.join('{port: 1}' for _ in range(101))}]", "", "has 101 entries", "1 to 100"),
    # How
    "mode-lower-case": spec(SELECT + EGRESS + "  mode: audit\n", 3, "spec.mode", '"audit" is not known', 'did you mean "Audit"?'),
    "audit-until-date": spec(
        SELECT + EGRESS + "  mode: Audit\n  auditUntil: 2027-01-31\n",
        4,
        "spec.auditUntil",
        '"2027-01-31" is not a date and time with a zone',
        'RFC 3339, such as "2027-01-31T00:00:00Z"',
    ),
    "audit-until-zoneless": spec(
        SELECT + EGRESS + '  mode: Audit\n  auditUntil: "2027-01-31T00:00:00"\n',
        4,
        "spec.auditUntil",
        '"2027-01-31T00:00:00" is not a date and time with a zone',
        'RFC 3339, such as "2027-01-31T00:00:00Z"',
    ),
    "audit-until-no-day": spec(
        SELECT + EGRESS + '  mode: Audit\n  auditUntil: "2027-02-30T00:00:00Z"\n',
        4,
        "spec.auditUntil",
        '"2027-02-30T00:00:00Z" is not a date and time with a zone',
        right='RFC 3339, such as "2027-01-31T00:00:00Z"',
    ),
    "ttl-zero": ttl("{minSeconds: 0}", ".minSeconds", "0 is out of range", "1 to 604800"),
    "ttl-negative-grace": ttl("{graceSeconds: -1}", ".graceSeconds", "-1 is out of range", "0 to 604800"),
    "ttl-too-long": ttl("{maxSeconds: 604801}", ".maxSeconds", "604801 is out of range", right="1 to 604800"),
    "ttl-crossed": ttl("{minSeconds: 60, maxSeconds: 30}", "", "minSeconds 60 is above maxSeconds 30", "minSeconds <= maxSeconds"),
    "ttl-unknown": ttl("{min: 3}", ".min", "unknown field", right="known here: minSeconds, maxSeconds, graceSeconds"),
    "ttl-with-unit": ttl(
        "{minSeconds: 30s}", ".minSeconds", 'must be an integer, is the text "30s"', right="a plain decimal number from 1 to 604800"
    ),
    # Of the cluster
    "priority-missing": cluster(SELECT + EGRESS + "  action: Deny\n", 0, "spec.priority", "is missing", "0 to 1000, lower is judged first"),
    "priority-too-high": cluster(
        SELECT + EGRESS + "  action: Deny\n  priority: 1001\n", 4, "spec.priority", "1001 is out of range", "0 to 1000"
    ),
    "action-missing": cluster(SELECT + EGRESS + "  priority: 1\n", 0, "spec.action", "is missing", "Allow, Deny or Pass"),
    "action-unknown": cluster(
        SELECT + EGRESS + "  priority: 1\n  action: Reject\n", 4, "spec.action", '"Reject" is not known', "one of Allow, Deny, Pass"
    ),
    "namespace-selector-empty": cluster(
        SELECT + EGRESS + "  priority: 1\n  action: Deny\n  namespaceSelector:\n",
        5,
        "spec.namespaceSelector",
        "is empty",
        "{} selects everything",
    ),
    "priority-of-a-namespaced-rule": spec(
        SELECT + EGRESS + "  priority: 1\n",
        3,
        "spec.priority",
        "unknown field",
        right="known here: podSelector, serviceAccountNames, mode, auditUntil, egress, ttl",
    ),
    # In lists
    "list-without-items": Bad("apiVersion: v1\nkind: List\n", 1, "items", "is missing", "items: [] holds nothing"),
    "list-in-list": Bad(
        "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: List, items: []}\n",
        4,
        "items[0]",
        "a List inside a List",
        right="put its items into one List",
    ),
    "list-of-a-list": Bad(
        "apiVersion: v1\nkind: List\nitems:\n"
        "- apiVersion: dnsfw.io/v1alpha1\n  kind: FQDNEgressRule\n  metadata: {name: a}\n  spec: {podSelector: {}}\n",
        *(7, "items[0].spec.egress", "is missing", "egress: [] reaches nothing"),
    ),
}

BAD_YAML = {
    "yaml-star": names("[*.github.com]", "while scanning an alias", 'must stand in quotes: "*.github.com"', ""),
    "yaml-tab": Bad("a:\n\tb: 1\n", 2, "", "not YAML", "not tabs"),
    "yaml-anchor": Bad("a: &x 1\n", 1, "", "a YAML anchor or alias (&x)", "write the value out"),
    "yaml-merge": Bad("a:\n  <<: *x\n", 2, "", "a YAML anchor or alias (*x)", "write the value out"),
    "yaml-tag": Bad("a: !!python/object:os.system x\n", 1, "", "a YAML tag", "leave it out"),
    "yaml-duplicate-key": Bad("a: 1\nb: 2\na: 3\n", 3, "", '"a" stands twice', "line 1"),
    "yaml-quote-open": Bad('x: 1\na: "b\nc: 2\n', 2, "", "not YAML", ""),
    "yaml-colon": Bad("a: b: c\n", 1, "", "not YAML: mapping values", "check the indentation"),
    "yaml-key-a-list": Bad("[a]: b\n", 1, "", "a list or a mapping as a key", "keys are text"),
    "yaml-control": Bad('a: 1\nb: "é\x01"\n', 2, "", "not YAML: control characters"),
    "yaml-directive": Bad("%YAML 1.2\na: 1\n", 2, "", "not YAML"),
    "yaml-deep": Bad("[" * 70 + "]" * 70 + "\n", 1, "", "nested more than 64 deep"),
}
