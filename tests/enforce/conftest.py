"""The small worlds of the policy's tests serve here too, and the namespaces of nft's."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in ("policy", "nft")]
