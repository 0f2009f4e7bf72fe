"""One setting's text -> its value.

Pure. Each parser raises `Unfit` with what is wrong and what would be right; none guesses.
"""

import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar

from dnsfw.api.settings import ApiAddress, ApiSettingsError, parse_api_address
from dnsfw.audit.shown import type_number
from dnsfw.forwarder.settings import Endpoint
from dnsfw.names import ROOT, Name, NameError_, parse_name
from dnsfw.policy.model import IPAddress, IPNetwork
from dnsfw.policy.parse_labels import parse_dns_subdomain
from dnsfw.policy.parse_peers import parse_network
from dnsfw.policy.reader import Field, Refused, guess
from dnsfw.policy.tree import Node, shorten

T = TypeVar("T")

LONGEST_INTERFACE = 15  # IFNAMSIZ of if.h without its NUL
FEWEST_MARK_BITS = 8  # 255 decisions in force; fewer could not hold the rules of a few pods
_UNITS = {"": 1, "B": 1, **{f"{letter}{end}": 1 << (10 * power) for power, letter in enumerate("KMGT", 1) for end in ("iB", "i")}}


class Unfit(Exception):  # noqa: N818 - never leaves this package; `settings_from` makes a SettingsError of it
    """A value that a setting cannot have."""

    def __init__(self, what: str, right: str = "") -> None:
        super().__init__(f"{what}; {right}" if right else what)


def endpoint(text: str) -> Endpoint:
    """ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT; port 53 where none is said."""
    host, port = _host_and_port(text)
    address = _address(text, host)
    if not port.isdecimal() or not port.isascii() or not 1 <= int(port) <= 65535:
        raise Unfit(f'"{shorten(text)}": {shorten(port) or "nothing"} is not a port', "1 to 65535")
    return Endpoint(address, int(port))


def _host_and_port(text: str) -> tuple[str, str]:
    if match := re.fullmatch(r"\[(.*)\](?::(.*))?", text):
        return match[1], match[2] if match[2] is not None else "53"
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return host, port
    return text, "53"


def _address(text: str, host: str) -> IPAddress:
    try:
        address = ip_address(host)
    except ValueError as error:
        raise Unfit(
            f'"{shorten(text)}" has no IP address', "such as 192.0.2.1:53 or [2001:db8::1]:53; a name cannot be resolved here"
        ) from error
    if "%" in host or address.is_multicast:
        raise Unfit(f'"{shorten(text)}" is a multicast or zoned address', "a unicast address without %zone")
    return address


def listener(text: str) -> Endpoint:
    """An endpoint of ours: answers leave from it, and the pods' port 53 is redirected to it, so it is one address."""
    found = endpoint(text)
    if found.address.is_unspecified:
        raise Unfit(f'"{shorten(text)}" is every address', "one address; --listen may be repeated")
    return found


def upstream(text: str) -> Endpoint:
    found = endpoint(text)
    if found.address.is_unspecified:
        raise Unfit(f'"{shorten(text)}" is nobody\'s address', "the resolver's address")
    return found


def network(text: str) -> IPNetwork:
    return _read(parse_network, text)


def node_name(text: str) -> str:
    return _read(parse_dns_subdomain, text)


def _read(parse: Callable[[Field], T], text: str) -> T:
    """Use the rules' own reader, so that a CIDR is a CIDR everywhere."""
    try:
        return parse(Field(Node(text), "", "", []))
    except Refused as refusal:
        raise Unfit(refusal.problem.what, refusal.problem.right) from refusal


def interface(text: str) -> str:
    """An interface's name, or the beginning of names and `*`."""
    stem = text.removesuffix("*")
    if not stem or len(stem) > LONGEST_INTERFACE or not re.fullmatch(r"[!-~]+", stem) or set(stem) & set('*/:"\\') or stem in (".", ".."):
        raise Unfit(f'"{shorten(text)}" is not an interface', f"a name of at most {LONGEST_INTERFACE} characters, or such as veth*")
    return text


def domain(text: str) -> Name:
    try:
        name = parse_name(text)
    except NameError_ as error:
        raise Unfit(str(error)) from error
    if name == ROOT:
        raise Unfit("the root would make every name the cluster's", "such as cluster.local")
    return name


def api_address(text: str) -> ApiAddress:
    try:
        return parse_api_address(text)
    except ApiSettingsError as error:
        raise Unfit(str(error).removeprefix("api ")) from error


def path(text: str) -> Path:
    if not text or "\0" in text:
        raise Unfit("is empty" if not text else "has a NUL in it", "a path")
    return Path(text)


def token_of(text: str) -> str:
    """The secret in the file of this name."""
    try:
        token = path(text).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Unfit(f'"{shorten(text)}" cannot be read: {getattr(error, "strerror", None) or "not ASCII"}') from error
    if len(token) < 16 or not token.isprintable() or " " in token:
        raise Unfit(f'"{shorten(text)}" holds no token', "at least 16 printable characters, such as `openssl rand -hex 32` writes")
    return token


def table_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,31}", text):
        raise Unfit(f'"{shorten(text)}" is not a table\'s name', "a letter, then letters, digits and '_', at most 32")
    return text


def mark_mask(text: str) -> int:
    mask = _mark(text)
    lowest = mask & -mask
    if mask & (mask + lowest) or mask.bit_count() < FEWEST_MARK_BITS:
        raise Unfit(f'"{shorten(text)}" is not a run of bits', f"at least {FEWEST_MARK_BITS} bits side by side, such as 0xffff0000")
    return mask


def mark_bit(text: str) -> int:
    mark = _mark(text)
    if mark.bit_count() != 1:
        raise Unfit(f'"{shorten(text)}" is not one bit', "such as 0x00100000")
    return mark


def _mark(text: str) -> int:
    mark = int(text, 0) if re.fullmatch(r"0x[0-9a-fA-F]{1,8}|[1-9][0-9]{0,9}", text) else 0
    if not 0 < mark <= 0xFFFFFFFF:
        raise Unfit(f'"{shorten(text)}" is not a mark', "0x1 to 0xffffffff")
    return mark


def count(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        number = int(text) if re.fullmatch(r"[0-9]{1,12}", text) else -1
        if not low <= number <= high:
            raise Unfit(f'"{shorten(text)}" is out of range', f"{low:,} to {high:,}, written without separators")
        return number

    return parse


def record_type(text: str) -> int:
    number = type_number(text.upper())
    if number is None:
        raise Unfit(f'"{shorten(text)}" is not a record type', "such as TXT, NULL or TYPE65280")
    return number


def seconds(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        number = float(text) if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?", text) else -1.0
        if not low <= number <= high:
            raise Unfit(f'"{shorten(text)}" is out of range', f"{low:g} to {high:g} seconds, such as {low:g}")
        return number

    return parse


def days(text: str) -> float:
    return count(1, 3650)(text) * 86400.0


def size(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        match = re.fullmatch(r"([0-9]{1,15}) ?([A-Za-z]*)", text)
        number = int(match[1]) * _UNITS.get(match[2], -1) if match else -1
        if not low <= number <= high:
            raise Unfit(f'"{shorten(text)}" is not a fitting size', f"{low >> 20} MiB to {high >> 30} GiB, such as 512MiB")
        return number

    return parse


def choice(words: Mapping[str, T]) -> Callable[[str], T]:
    def parse(text: str) -> T:
        if text not in words:
            raise Unfit(f'"{shorten(text)}" is not known', guess(text, words) or f"one of {', '.join(words)}")
        return words[text]

    return parse
