"""What main has acknowledged to this worker, so that it need not ask again: `enforce.asked.View` from afar.

Pure. Always true: no claim here outlives the same claim in main's ledger. It is counted from the moment of asking, which lies before main's
(the monotonic clock is one for all processes), and ends with what main has said at the latest; a new snapshot begins with an empty
mirror, and a row from which main has lost a claim is not mirrored any more.
"""

from collections.abc import Collection, Sequence

from dnsfw.clock import Instant
from dnsfw.enforce.asked import Ask, View, Wanted, held
from dnsfw.policy.grants import Granted
from dnsfw.policy.ledger import NO_ROW, Claim, Ledger, Row, RowKey, with_claims
from dnsfw.policy.snapshot import Snapshot

MOST_ROWS = 500_000
"""135 MB (design §2); beyond, all are forgotten: what is asked again is answered by main, without a commit."""


class Mirror(View):
    """Touched by the worker's loop only. Never behind: what main says it has granted, it has written."""

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None
        self.trouble = ""
        self.ledger = Ledger()
        self._crowded: set[RowKey] = set()

    def switch(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.ledger.clear()
        self._crowded.clear()

    def held(self, ask: Ask, wanted: Sequence[Wanted]) -> Granted | None:
        return held(self.ledger, ask, wanted, _is_written)

    def accept(self, ask: Ask, wanted: Sequence[Wanted], granted: Granted) -> None:
        """Main has granted this; `wanted` is from the moment of asking, under the snapshot of now."""
        if len(self.ledger) + len(wanted) > MOST_ROWS:
            self.ledger.clear()
        rows: dict[RowKey, Row] = {}
        for one in wanted:
            key = (ask.subject.pod.uid, one.address)
            if key not in self._crowded:
                claim = Claim(one.permit, ask.name, min(one.until, granted.until))
                before = rows.get(key) or self.ledger.row(*key)
                rows[key] = with_claims(before, (claim,)) if before else (claim,)
        self.ledger.accept(rows)

    def forget(self, key: RowKey) -> None:
        """Main's row was full and has lost a claim; which one, only main can say, so it is asked each time until the rules change."""
        self._crowded.add(key)
        self.ledger.accept({key: NO_ROW})

    def sweep(self, keys: Collection[RowKey], now: Instant) -> None:
        """Let go of what has ended in these rows."""
        rows = {key: self.ledger.row(*key) for key in keys}
        ended = {key: tuple(claim for claim in row if claim.until > now) for key, row in rows.items()}
        self.ledger.accept({key: rest for key, rest in ended.items() if len(rest) < len(rows[key])})


def _is_written(_address: bytes, _claim: Claim) -> bool:
    return False
