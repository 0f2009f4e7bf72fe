"""More than one core (`--workers N`): worker processes answer queries, the main process owns what all of them share.

`team` is the main process's side, `worker` the other. docs/adr/0009-workers.md says why it is cut like this.
"""
