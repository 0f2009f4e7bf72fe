"""What all tests share lies in tests/support: namespaces for one test body (netns), and the laboratory (labs)."""

import sys
from pathlib import Path

import dns.rdata

sys.path.insert(0, str(Path(__file__).parent / "support"))

pytest_plugins = ["netns", "labs"]

# dnspython loads a type when it first meets it. Where that fails, as it does in a test that uses up all descriptors, it reads every later
# record of that type as bytes alone.
dns.rdata.load_all_types()
