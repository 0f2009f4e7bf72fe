"""All that `dnsfw run` is told, as values: each package's own settings, built once and passed in.

Reads the files that settings name (`--config`, `--api-token-file`) and nothing else.
Always true: what comes out is whole and fits together; whatever does not is a SettingsError that names every fault.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

from dnsfw.api.settings import ApiSettings, ApiSettingsError
from dnsfw.audit.settings import AuditSettings
from dnsfw.enforce.settings import EnforceSettings
from dnsfw.forwarder.settings import Endpoint, ForwarderSettings
from dnsfw.names import parse_name
from dnsfw.policy.model import PolicySettings
from dnsfw.settings.given import Flags, Given, Said, SettingsError, all_given
from dnsfw.settings.places import default_api, state_folder
from dnsfw.settings.table import SETTINGS, LogFormat, Owner, Setting
from dnsfw.settings.values import Unfit
from dnsfw.sources.settings import FilesSettings

CLUSTER_DOMAIN = parse_name("cluster.local")
_NOWHERE: tuple[Given, ...] = ()
Values = Mapping[Owner, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """Field by field:

    format: text for people, or one JSON object a line. level: the least that is written.
    """

    format: LogFormat = LogFormat.TEXT
    level: str = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """Field by field:

    files: where rules and pods come from.
    policy: the surroundings; this node's own addresses are not in it yet, they are looked up at start.
    forwarder: where queries are taken and who is asked. enforce: the table, its marks and limits, the pods' interfaces.
    audit: where records go. api: where status is served. log: what the program says of itself.
    workers: processes that answer queries; 1: this one does.
    """

    files: FilesSettings
    policy: PolicySettings
    forwarder: ForwarderSettings
    enforce: EnforceSettings
    audit: AuditSettings
    api: ApiSettings
    log: LogSettings
    workers: int = 1


def settings_from(flags: Flags, environ: Mapping[str, str], config: Path | None = None) -> RunSettings:
    """Settings by their names (`listen`, `cluster-cidr`); the flags win, then DNSFW_LISTEN and the like, then the file."""
    said = all_given(flags, environ, config)
    faults: list[str] = [fault for setting in SETTINGS for fault in _absent(setting, said)]
    values: dict[Owner, dict[str, Any]] = {owner: {} for owner in Owner}
    for setting in SETTINGS:
        if setting.name in said:
            values[setting.owner][setting.field] = _parsed(setting, said[setting.name], faults)
    faults.extend(() if faults else _misfits(values))
    if faults:
        raise SettingsError(faults)
    return _built(values)


def _absent(setting: Setting, said: Said) -> Iterator[str]:
    if setting.is_required and setting.name not in said:
        yield f"--{setting.name}: is missing; {setting.metavar}, {setting.variable} or `{setting.name}:` in the file of --config"


def _parsed(setting: Setting, given: tuple[Given, ...], faults: list[str]) -> Any:  # noqa: ANN401 - each setting has a type of its own
    parsed = [value for each in given for value in _one(setting, each, faults)]
    if setting.is_many:
        return tuple(dict.fromkeys(parsed))
    return parsed[-1] if parsed else None


def _one(setting: Setting, given: Given, faults: list[str]) -> Iterator[Any]:
    try:
        yield setting.parse(given.text)
    except Unfit as unfit:
        faults.append(f"{given.place}: {unfit}")


def _misfits(values: Values) -> Iterator[str]:
    """What is right by itself but not together."""
    listen, upstreams = values[Owner.FORWARDER]["listen"], values[Owner.FORWARDER]["upstreams"]
    for endpoint in upstreams:
        if endpoint in listen:
            yield f"--upstream: {endpoint} is our own --listen; every query would come back"
    enforce = EnforceSettings(**values[Owner.ENFORCE])
    if "grants_per_pod" in values[Owner.ENFORCE] and enforce.grants_per_pod > enforce.grants_per_node:
        yield f"--max-grants-per-pod: {enforce.grants_per_pod} is above --max-grants {enforce.grants_per_node}"


def _built(values: Values) -> RunSettings:
    forwarder = ForwarderSettings(**values[Owner.FORWARDER], interfaces=values[Owner.ENFORCE].get("interfaces", ()))
    audit = AuditSettings(**{"path": state_folder() / "audit.db", **values[Owner.AUDIT]})
    return RunSettings(
        files=FilesSettings(**values[Owner.FILES]),
        policy=PolicySettings(**{"cluster_domain": CLUSTER_DOMAIN, **values[Owner.POLICY]}),
        forwarder=forwarder,
        enforce=_enforce(values[Owner.ENFORCE], forwarder, audit),
        audit=audit,
        api=_api(values[Owner.API]),
        log=LogSettings(**values[Owner.LOG]),
        **values[Owner.PROCESSES],
    )


def _enforce(values: Mapping[str, Any], forwarder: ForwarderSettings, audit: AuditSettings) -> EnforceSettings:
    """The pods' port 53 goes to the first listener of each family that forwarded packets reach; each table has a journal of its own."""
    enforce = EnforceSettings(**values)
    reached = sorted(forwarder.listen, key=lambda each: each.address.is_loopback)
    return replace(
        enforce,
        listener4=next((_pair(each) for each in reached if isinstance(each.address, IPv4Address)), None),
        listener6=next((_pair(each) for each in reached if isinstance(each.address, IPv6Address)), None),
        own=tuple(each.address for each in forwarder.listen if each.port == 53),
        exempt=tuple(dict.fromkeys(endpoint.address for endpoint in forwarder.upstreams)),
        journal=audit.path.parent / f"{enforce.table}.journal",
    )


def _pair(endpoint: Endpoint) -> Any:  # noqa: ANN401 - the family was asked for just before; mypy does not follow it into the tuple
    return endpoint.address, endpoint.port


def _api(values: Mapping[str, Any]) -> ApiSettings:
    try:
        return ApiSettings(**{"address": default_api(), **values})
    except ApiSettingsError as error:
        raise SettingsError([str(error)]) from error
