"""The small worlds of the policy's tests and the enforcer on a fake kernel serve here too."""

import sys
from pathlib import Path

for package in ("policy", "enforce"):
    sys.path.insert(0, str(Path(__file__).parents[1] / package))
