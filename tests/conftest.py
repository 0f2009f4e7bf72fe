"""What all tests share lies in tests/support: namespaces for one test body (netns), and the laboratory (labs)."""

import sys
from pathlib import Path

import dns.rdata
from hypothesis import Phase, settings

sys.path.insert(0, str(Path(__file__).parent / "support"))

pytest_plugins = ["netns", "labs"]

# dnspython loads a type when it first meets it. Where that fails, as it does in a test that uses up all descriptors, it reads every later
# record of that type as bytes alone.
dns.rdata.load_all_types()

# Properties are judged by what holds, not by how long an example took on a busy machine.
settings.register_profile("untimed", deadline=None)
# For `make mutants`: the same examples each time, few of them, and the first that fails is enough: thousands of runs follow one another.
settings.register_profile(
    "mutants", max_examples=40, derandomize=True, database=None, deadline=None, phases=(Phase.explicit, Phase.generate)
)
settings.load_profile("untimed")  # pytest loads what `--hypothesis-profile` names after this
