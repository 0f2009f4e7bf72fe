"""The small worlds of the policy's tests, the enforcer on a fake kernel, and the notation of the system tests serve here too."""

import sys
from pathlib import Path

for package in ("policy", "enforce", "system", "audit"):
    sys.path.insert(0, str(Path(__file__).parents[1] / package))
