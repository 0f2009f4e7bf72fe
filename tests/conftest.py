"""What all tests share lies in tests/support: namespaces for one test body (netns), and the laboratory (labs)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "support"))

pytest_plugins = ["netns", "labs"]
