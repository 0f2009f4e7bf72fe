"""Which pods are as they were: what a change of rules, pods or namespaces leaves alone is neither selected nor compiled anew.

Pure. Always true: a subject that is kept is what compiling it anew would give.
"""

from collections.abc import Mapping

from dnsfw.policy.model import Pod, PolicySettings, RuleRef, World
from dnsfw.policy.prepare import Prepared
from dnsfw.policy.selection import Selection
from dnsfw.policy.snapshot import Snapshot, Subject


class Kept:
    """The subjects of `previous` beside a newer world. audited: the rules that are in Audit mode now."""

    def __init__(
        self,
        previous: Snapshot | None,
        world: World,
        settings: PolicySettings,
        prepared: Mapping[RuleRef, Prepared],
        audited: frozenset[RuleRef],
    ) -> None:
        is_usable = previous is not None and previous.settings == settings and len(prepared) == len(world.rules)
        self._previous = previous if is_usable else None
        if self._previous is None:
            return
        before = self._previous.prepared
        others = [
            each for ref, each in prepared.items() if before.get(ref) is not each or (ref in audited) != (ref in self._previous.audited)
        ]
        gone = before.keys() - prepared.keys()
        self._altered = frozenset((*gone, *(each.rule.ref for each in others)))
        self._selection = Selection(others, world.namespace_labels)
        self._labels = world.namespace_labels

    def subject(self, pod: Pod) -> Subject | None:
        """As it was; None where it has to be made anew."""
        if self._previous is None or (before := self._previous.subjects.get(pod.uid)) is None or before.pod != pod:
            return None
        if self._labels.get(pod.namespace) != self._previous.namespace_labels.get(pod.namespace):
            return None
        if any(entry.rule in self._altered for entry in before.policy.entries) or self._selection.places(pod):
            return None
        return before
