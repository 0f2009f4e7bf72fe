"""What can be wrong with an audit database, in words that tell the operator what to do."""

from dnsfw.errors import DnsfwError


class AuditError(DnsfwError):
    """The audit database cannot be used as asked."""


class ForeignDatabaseError(AuditError):
    """The file is not an audit database of ours; nothing of it was touched."""


class DamagedDatabaseError(AuditError):
    """The file is ours, but SQLite cannot read it any more, or a block of records in it cannot be unpacked."""


class OutdatedDatabaseError(AuditError):
    """The file is ours, of an older version than this program writes; the writer puts it aside and begins a new one."""
