"""Where state lives if nobody says."""

import os
from ipaddress import ip_address
from pathlib import Path

import pytest

from dnsfw.api.settings import TcpAddress, UnixAddress
from dnsfw.settings import api_from, default_api, places, settings_from


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(places, "_SYSTEM_STATE", tmp_path / "lib" / "dnsfw")
    monkeypatch.setattr(places, "_SYSTEM_RUNTIME", tmp_path / "run" / "dnsfw")
    return tmp_path


@pytest.fixture
def ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A uid_map to write; root asks."""
    uid_map = tmp_path / "uid_map"
    monkeypatch.setattr(places, "_UID_MAP", uid_map)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return uid_map


def test_root_of_the_machine_has_the_system_s_folders(ids: Path, tmp_path: Path) -> None:
    """Root in the initial user namespace, where the folders can be made."""
    ids.write_text("         0          0 4294967295\n")

    assert places.state_folder() == tmp_path / "lib" / "dnsfw"
    assert default_api() == UnixAddress(tmp_path / "run" / "dnsfw" / "dnsfw.sock")


def test_kernel_without_user_namespaces_has_but_one_root(ids: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No uid_map, no doubt."""
    monkeypatch.setattr(places, "_SYSTEM_STATE", tmp_path / "lib")

    assert places.state_folder() == tmp_path / "lib"


def test_root_of_a_user_namespace_is_a_user(ids: Path, home: Path) -> None:
    """It only looks like root; its state is the user's, and its socket in no folder that others share."""
    ids.write_text("         0       1000          1\n")

    assert places.state_folder() == home / ".local" / "state" / "dnsfw"
    assert default_api() == UnixAddress(home / ".local" / "state" / "dnsfw" / "dnsfw.sock")


def test_session_s_runtime_folder_is_used(ids: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is one, the socket goes there."""
    ids.write_text("0 1000 1\n")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")

    assert default_api() == UnixAddress(Path("/run/user/1000/dnsfw/dnsfw.sock"))


def test_settings_without_places_have_the_defaults(ids: Path, home: Path) -> None:
    """Audit, journal and socket are where the other commands look."""
    ids.write_text("0 1000 1\n")
    settings = settings_from({"listen": ["192.0.2.53"], "upstream": ["192.0.2.1"], "rules": "r", "pods": "p"}, {})

    assert settings.audit.path == home / ".local" / "state" / "dnsfw" / "audit.db"
    assert settings.enforce.journal == home / ".local" / "state" / "dnsfw" / "dnsfw.journal"
    assert settings.api.address == default_api() == api_from(None, {})


def test_commands_find_the_process_by_flag_or_environment() -> None:
    """As `dnsfw run` itself: the flag wins."""
    assert api_from(None, {"DNSFW_API": "unix:/a"}) == UnixAddress(Path("/a"))
    assert api_from("[::1]:9155", {"DNSFW_API": "unix:/a"}) == TcpAddress(ip_address("::1"), 9155)


def test_commands_of_others_find_the_systems_process(ids: Path, home: Path) -> None:
    """A user without one of their own is told of the one that is root's, rather than that there is none."""
    ids.write_text("0 1000 1\n")
    (home / "lib" / "dnsfw").mkdir(parents=True)
    (home / "run" / "dnsfw").mkdir(parents=True)

    assert api_from(None, {}) == UnixAddress(home / "run" / "dnsfw" / "dnsfw.sock")
    assert places.audit_to_read() == home / "lib" / "dnsfw" / "audit.db"

    own = home / ".local" / "state" / "dnsfw"
    own.mkdir(parents=True)
    (own / "dnsfw.sock").touch()
    (own / "audit.db").touch()

    assert api_from(None, {}) == UnixAddress(own / "dnsfw.sock")
    assert places.audit_to_read() == own / "audit.db"
