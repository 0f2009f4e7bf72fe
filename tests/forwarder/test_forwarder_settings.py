"""What the operator says about answering."""

from ipaddress import ip_address

import pytest

from dnsfw.forwarder.settings import Endpoint


@pytest.mark.parametrize(
    ("endpoint", "text"),
    [(Endpoint(ip_address("192.0.2.1")), "192.0.2.1:53"), (Endpoint(ip_address("2001:db8::1"), 9053), "[2001:db8::1]:9053")],
)
def test_endpoint_reads_as_people_write_it(endpoint: Endpoint, text: str) -> None:
    """IPv6 in brackets, so that the port is one."""
    assert str(endpoint) == text
