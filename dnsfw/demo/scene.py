"""The stage of the story: who is there, what names answer, which rules stand.

Touches the laboratory that it is built in.
"""

from importlib import resources

from dnsfw.demo.lab import Lab
from dnsfw.demo.program import Program

PARTNER4, PARTNER6 = "203.0.113.10", "2001:db8:9a::10"
MAIL4, MAIL6 = "8.8.8.8", "2001:4860:4860::8888"
STRANGER4, STRANGER6 = "198.51.100.99", "2001:db8:bad::99"
WWW4, WWW6 = "192.0.2.11", "2001:db8:c0de::11"
ONLY_NEIGHBOUR = "gist.github.com"
NAMES = {
    "github.com": ("60 A 192.0.2.10", "60 AAAA 2001:db8:c0de::10"),
    "www.github.com": ("60 CNAME edge.example.net",),
    "edge.example.net": (f"45 A {WWW4}", f"45 AAAA {WWW6}"),
    "api.github.com": ("300 A 192.0.2.12", "300 AAAA 2001:db8:c0de::12"),
    ONLY_NEIGHBOUR: ("60 A 192.0.2.13", "60 AAAA 2001:db8:c0de::13"),
    "zero.github.com": ("0 A 192.0.2.14", "0 AAAA 2001:db8:c0de::14"),
    "api.weather.gov": ("60 A 198.51.100.20", "60 AAAA 2001:db8:3ea::20"),
    "forecast.weather.gov": ("60 A 198.51.100.21", "60 AAAA 2001:db8:3ea::21"),
    "www.example.net": (f"60 A {STRANGER4}", f"60 AAAA {STRANGER6}"),
}


class Scene:
    """Three pods and the program: two with the first rule, one with the second."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        app1, app2 = {"egress-ruleset": "app1"}, {"egress-ruleset": "app2"}
        self.app1, self.app2, self.neighbour = lab.pods_at_once([("shop/app1-a", app1), ("shop/app2-a", app2), ("shop/app1-b", app1)])
        for name, records in NAMES.items():
            lab.internet.set(name, *records)
        self.program: Program = lab.run_dnsfw(example_rules())


def example_rules() -> dict[str, str]:
    """The files in dnsfw/demo/rules, as they are."""
    folder = resources.files("dnsfw.demo") / "rules"
    return {file.name: file.read_text() for file in sorted(folder.iterdir(), key=lambda file: file.name) if file.name.endswith(".yaml")}
