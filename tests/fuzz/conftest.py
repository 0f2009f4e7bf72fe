"""The targets lie beside the tests: they are programs of their own, and run without atheris too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "fuzz"))
