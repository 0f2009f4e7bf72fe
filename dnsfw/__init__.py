"""Per-pod DNS egress firewall: a pod reaches only what DNS has just told it, for names its rules allow."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("dnsfw")
except PackageNotFoundError:  # a checkout on the path that nobody has installed
    __version__ = "0+unknown"
