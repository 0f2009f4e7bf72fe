"""A table that belongs to our netlink socket (`flags owner`, Linux 5.12): others can read it, but neither change, flush nor delete it.

Pure but for `create` and `destroy`, which go over the socket they are given. libnftables cannot make it for us: the owner is the socket
that made it, and the helper process has another one. Hence rules are the steps of nft/expressions.py rather than text.
Always true: the table lives exactly as long as the socket, a killed process leaves nothing behind; its elements are changed by
ordinary commits over the same socket, so one transaction may cover it and a table of libnftables' making.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from struct import Struct
from typing import NamedTuple

from nft import codec
from nft import expressions as x
from nft.codec import CREATE, EXCL, FAMILIES, attribute, be32, be64, nested, text
from nft.errors import AlreadyExistsError, NftError, NotPermittedError, NotValidError, TableOwnedError, from_errno
from nft.expressions import Step
from nft.keys import TYPES
from nft.objects import Chain, Hook, Set, Table
from nft.socket import NetlinkSocket

NEW_TABLE, DELETE_TABLE, NEW_CHAIN, NEW_RULE, NEW_SET = 0, 2, 3, 6, 9
_APPEND = 0x800
_TABLE_IS_OWNED = 0x2
_SET_FLAGS = {"constant": 0x2, "interval": 0x4, "timeout": 0x10}
_HOOKS = {"prerouting": 0, "input": 1, "forward": 2, "output": 3, "postrouting": 4}
_POLICIES = {"drop": 0, "accept": 1}
_I32 = Struct(">i")


class Request(NamedTuple):
    """One message of a transaction: NFT_MSG_*, flags beside NLM_F_REQUEST, nfgenmsg's family, attributes."""

    message: int
    flags: int
    family: int
    body: bytes


@dataclass(frozen=True, slots=True)
class OwnedRule:
    chain: Chain
    steps: tuple[Step, ...]
    comment: str = ""


@dataclass(frozen=True, slots=True)
class OwnedTable:
    """What the table is made of; rules stand in this order within their chain."""

    table: Table
    sets: tuple[Set, ...]
    chains: tuple[Chain, ...]
    rules: tuple[OwnedRule, ...]

    def set_named(self, name: str) -> Set:
        return next(found for found in self.sets if found.name == name)

    def create(self, link: NetlinkSocket) -> None:
        """Make the table, whole, and `link` its owner; an error if the name is taken, by whomever."""
        _transact(link, self.table, self.requests())

    def destroy(self, link: NetlinkSocket) -> None:
        """Remove the table and all in it."""
        _transact(link, self.table, (_request(self.table, DELETE_TABLE, 0, text(1, self.table.name)),))

    def requests(self) -> tuple[Request, ...]:
        return (
            _new_table(self.table),
            *(_new_set(made, number) for number, made in enumerate(self.sets, start=1)),
            *(_new_chain(chain) for chain in self.chains),
            *(_new_rule(rule) for rule in self.rules),
        )


def _transact(link: NetlinkSocket, table: Table, requests: Sequence[Request]) -> None:
    """All of it or nothing; on return the kernel has acknowledged."""
    first = link.sequence(len(requests) + 2)
    last = first + len(requests)
    batch = [codec.batch_mark(codec.BATCH_BEGIN, first)]
    for number, request in enumerate(requests, start=first + 1):
        flags = codec.REQUEST | request.flags | (codec.ACK if number == last else 0)
        batch.append(codec.message(request.message, flags, number, request.family, request.body))
    batch.append(codec.batch_mark(codec.BATCH_END, last + 1))
    if refusals := link.transact(b"".join(batch), first, last):
        raise _refused(table, refusals[0].errno, is_whole_batch=refusals[0].seq == first)


def _refused(table: Table, number: int, *, is_whole_batch: bool) -> NftError:
    error = from_errno(number, f"table {table}")
    if isinstance(error, NotPermittedError) and not is_whole_batch:  # without CAP_NET_ADMIN it is the whole that is refused
        return TableOwnedError(f"table {table} belongs to another process's netlink socket; stop that one or choose another name")
    if isinstance(error, AlreadyExistsError):
        return AlreadyExistsError(f"table {table} stands already; delete it or choose another name")
    return error


# ---- the guard


def guard_program(name: str, priority: int, mark_bit: int) -> OwnedTable:
    """What keeps selected pods closed while the table that judges them is gone (`nft flush ruleset`, a reload of firewalld).

    The judging table sets `mark_bit` in the mark of each packet that it accepts, and comes first (a lower `priority`). Of the others:
    what a selected pod sends to the outside drops, but for its answers on connections that the outside opened; what the outside sends
    to a selected pod drops unless it begins or continues a connection that the outside opened. Hence every connection that a pod opened
    stands still, and ingress lives. A packet that conntrack cannot place, or a TCP one from the middle of a connection it has never
    seen, could be part of what a pod opened, so it drops too. The chain's use of ct is also what keeps conntrack awake.
    """
    table = Table(name)
    guard = Chain(table, "guard", Hook("filter", "forward", priority))
    rules: list[tuple[Step, ...]] = [(x.mark_has(mark_bit), x.verdict("accept"))]
    sets: list[Set] = []
    families: tuple[tuple[x.Family, str, str], ...] = (("ip", "ipv4_addr", "4"), ("ip6", "ipv6_addr", "6"))
    for family, key, suffix in families:
        selected, internal = Set(table, f"selected{suffix}", (key,)), Set(table, f"internal{suffix}", (key,), flags=frozenset({"interval"}))
        sets += [selected, internal]
        rules += _guard_rules(family, selected.name, internal.name)
    return OwnedTable(table, tuple(sets), (guard,), tuple(OwnedRule(guard, steps) for steps in rules))


def _guard_rules(family: x.Family, selected: str, internal: str) -> list[tuple[Step, ...]]:
    is_family, drop = x.family(family), (x.counter(), x.verdict("drop"))
    outwards = is_family, x.address_in(family, "saddr", selected), x.address_in(family, "daddr", internal, inverse=True)
    inwards = is_family, x.address_in(family, "daddr", selected), x.address_in(family, "saddr", internal, inverse=True)
    mid_stream = x.state("new"), x.tcp_flags_differ(("fin", "syn", "rst", "ack"), ("syn",))
    # An ICMP error takes its direction from the connection that it quotes, and a pod may quote its neighbour's.
    return [
        (*outwards, x.state("related"), *drop),
        (*inwards, x.direction("reply"), *drop),  # first: the one who answers may be selected, too
        (x.direction("reply"), is_family, x.address_in(family, "saddr", selected), x.verdict("accept")),
        (*outwards, *drop),
        (*inwards, x.state("invalid"), *drop),
        (*inwards, *mid_stream, *drop),
    ]


# ---- messages


def _request(table: Table, message: int, flags: int, *attributes: bytes) -> Request:
    return Request(message, flags, FAMILIES[table.family], b"".join(attributes))


def _new_table(table: Table) -> Request:
    return _request(table, NEW_TABLE, CREATE | EXCL, text(1, table.name), be32(2, _TABLE_IS_OWNED))


def _new_set(made: Set, number: int) -> Request:
    """`number` tells sets of one transaction apart."""
    if made.data is not None or made.has_counter or (made.is_interval and len(made.key) > 1) or "dynamic" in made.flags:
        raise NotValidError(f"set {made}: an owned table holds plain sets, and intervals of one key only")
    flags = sum(_SET_FLAGS[flag] for flag in made.flags)
    key_type = reduce(lambda known, name: known << 6 | TYPES[name].number, made.key, 0)  # libnftables' concatenation of types
    attributes = [text(1, made.table.name), text(2, made.name), be32(3, flags), be32(4, key_type), be32(5, made.key_length)]
    if made.size is not None:
        attributes.append(nested(9, be32(1, made.size)))
    if made.default_timeout_ms is not None:
        attributes.append(be64(11, made.default_timeout_ms))
    return _request(made.table, NEW_SET, CREATE | EXCL, *attributes, be32(10, number))


def _new_chain(chain: Chain) -> Request:
    attributes = [text(1, chain.table.name), text(3, chain.name)]
    if (hook := chain.hook) is not None:
        where = nested(4, be32(1, _HOOKS[hook.hook]), attribute(2, _I32.pack(hook.priority)))
        attributes += [where, be32(5, _POLICIES[hook.policy]), text(7, hook.type)]
    return _request(chain.table, NEW_CHAIN, CREATE | EXCL, *attributes)


def _new_rule(rule: OwnedRule) -> Request:
    attributes = [text(1, rule.chain.table.name), text(2, rule.chain.name), x.encode(rule.steps)]
    if rule.comment:
        comment = rule.comment.encode() + b"\0"
        attributes.append(attribute(7, bytes((0, len(comment))) + comment))  # NFTNL_UDATA_RULE_COMMENT
    return _request(rule.chain.table, NEW_RULE, CREATE | _APPEND, *attributes)
