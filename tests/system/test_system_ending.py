"""Start and end: broken rules, a clean stop, an uninstallation; and how soon a saved rule is in force."""

import os
import time

import pytest
from system_kit import Site, bar, cidrs, names, rule, spread, wait_for

from dnsfw.demo.lab import Lab

BROKEN = rule("web", names("*.exa*mple.net"))


def test_stop_leaves_the_table(own_site: Site) -> None:
    """SIGTERM ends it in five seconds; what was granted works until its lease ends, all else stays closed."""
    site = own_site
    site.lab.internet.set("www.example.net", "3 A 192.0.2.10")
    site.allow("web", names("www.example.net"), cidrs("203.0.113.10/32"), ttl={"minSeconds": 1, "maxSeconds": 3, "graceSeconds": 0})
    pod = site.pod("web")
    address = pod.resolve("www.example.net").address
    stream = site.stream(pod, address)
    begun = time.monotonic()

    assert site.program.stop(timeout=bar(5.0)) == 0
    assert time.monotonic() - begun < bar(5.0)
    if time.monotonic() - begun < 2:
        assert pod.connect(address).is_connected
    assert pod.connect("203.0.113.10").is_connected
    assert pod.connect("198.51.100.10").what == "refused"
    assert not pod.resolve("www.example.net", timeout=0.3).addresses
    wait_for(lambda: pod.connect(address).what == "refused")
    assert stream.lives()


def test_uninstall_removes_every_trace(own_site: Site) -> None:
    """No table, no mark, no journal; pods are as if it had never been."""
    site = own_site
    site.lab.internet.set("www.example.net", "60 A 192.0.2.10")
    site.allow("web", names("www.example.net"))
    pod = site.pod("web")
    stream = site.stream(pod, pod.resolve("www.example.net").address)
    assert "mark=" in marks(site.lab)
    site.program.stop()
    journals = [path for path in site.lab.folder.iterdir() if "journal" in path.name or path.suffix == ".grants"]

    done = site.lab.dnsfw("uninstall", "--audit-db", str(site.program.audit_db))

    assert done.status == 0, done.stderr
    assert site.lab.run("nft", "list", "tables").stdout == ""
    assert "mark=" not in marks(site.lab)
    assert [path for path in journals if path.exists()] == []
    assert stream.lives()
    assert pod.connect("198.51.100.10").is_connected


def marks(lab: Lab) -> str:
    """The connections to port 443, without the marks that are none."""
    lines = lab.run("cat", "/proc/net/nf_conntrack").stdout.splitlines()
    return "\n".join(line for line in lines if "dport=443" in line).replace("mark=0 ", "")


def test_broken_rules_at_the_start(lab: Lab) -> None:
    """Exit 1, with file, line and path of the field on stderr."""
    program = lab.run_dnsfw({"web.yaml": BROKEN}, is_waiting=False)

    assert program.running.wait(20) == 1
    assert "web.yaml:" in program.log
    assert "spec.egress[0].toFQDNs[0]" in program.log
    assert lab.run("nft", "list", "tables").stdout == ""


def test_broken_rules_later(own_site: Site) -> None:
    """The last good state of that file stays, the others follow, and status says what is wrong."""
    site = own_site
    site.allow("web", cidrs("203.0.113.10/32"))
    pod = site.pod("web")
    position = site.program.log_position()
    site.program.save_rule("web.yaml", BROKEN)
    site.program.wait_for_event("document refused; its last good state stays in force", since=position)

    assert "web.yaml" in str(site.status()["problems"])
    assert pod.connect("203.0.113.10").is_connected
    site.allow("more", cidrs("203.0.113.11/32"), app="web")
    assert pod.connect("203.0.113.11").is_connected
    site.allow("web", cidrs("203.0.113.12/32"))
    assert pod.connect("203.0.113.12").is_connected
    assert pod.connect("203.0.113.10").what == "refused"
    assert site.status()["problems"] == []


@pytest.mark.parametrize("saves", [pytest.param(10, id="short"), pytest.param(100, id="full", marks=pytest.mark.long)])
@pytest.mark.parametrize("rules", [1, 500])
def test_saved_rule_is_in_force(own_site: Site, figures: dict, saves: int, rules: int) -> None:
    """Within a second of its saving, beside one rule or hundreds: by the log, and by what a pod can reach."""
    site = own_site
    site.program.write_rules({f"rule{number}.yaml": rule(f"rule{number}", names(f"n{number}.example.net")) for number in range(rules)})
    pod = site.pod("saved")
    took, felt = [], []
    for number in range(saves):
        network = f"203.0.113.{number % 2 + 1}"
        change = site.allow("saved", cidrs(f"{network}/32"))
        took.append(change.took_s)
        wait_for(lambda network=network: pod.connect(network).is_connected)
        felt.append(time.monotonic() - change.saved_at)
    figures["in_force_s"], figures["felt_s"] = spread(took), spread(felt)

    assert figures["in_force_s"]["p99"] <= bar(1.0)


def test_program_that_is_played_is_the_one_that_was_asked_for(lab: Lab) -> None:
    """`make test-compiled` must not play the interpreted one, nor `make test` what lies in build/."""
    program = lab.run_dnsfw({})

    ready = program.wait_for_event("ready")

    assert ready["compiled"] is (os.environ.get("PLAYED") == "compiled")
