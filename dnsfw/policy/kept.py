"""Which pods are as they were: what a change of rules, pods or namespaces leaves alone is neither selected nor compiled anew.

Pure. Always true: a subject that is kept is what compiling it anew would give. That is said of the pod and its policy alone: whether
another pod has come to have its address, the snapshot says (`conflicts`).
"""

from collections.abc import Mapping

from dnsfw.policy.model import Pod, RuleRef, World
from dnsfw.policy.prepare import Prepared
from dnsfw.policy.selection import Selection
from dnsfw.policy.snapshot import Snapshot, Subject


class Kept:
    """The subjects of `before`, made with the same settings, beside a newer world.

    rules: of the newer world, by reference; empty where two have the same. audited: those in Audit mode now.
    """

    def __init__(self, before: Snapshot, world: World, rules: Mapping[RuleRef, Prepared], audited: frozenset[RuleRef]) -> None:
        turned = audited ^ before.audited
        self._before = before
        self._labels = world.namespace_labels
        self._standing = frozenset(ref for ref, each in rules.items() if before.prepared.get(ref) is each and ref not in turned)
        self._others = Selection([each for ref, each in rules.items() if ref not in self._standing], world.namespace_labels)

    def subject(self, pod: Pod) -> Subject | None:
        """As it was; None where it has to be made anew."""
        if (was := self._before.subjects.get(pod.uid)) is None or was.pod != pod:
            return None
        if self._labels.get(pod.namespace) != self._before.namespace_labels.get(pod.namespace):
            return None
        if not all(entry.rule in self._standing for entry in was.policy.entries) or self._others.places(pod):
            return None
        return was
