"""What `pip install .` installs is the whole program."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("dnsfw", "nft")


def test_wheel_holds_every_file_that_the_program_reads(tmp_path: Path) -> None:
    """Modules, and the demo's rules: from a checkout all are found, installed only what the wheel has."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    wanted = {str(path.relative_to(source)) for name in PACKAGES for path in (source / name).rglob("*.*") if path.suffix != ".md"}

    pip = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    subprocess.run([*pip, "--wheel-dir", str(tmp_path), str(source)], check=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")

    assert "dnsfw/demo/rules/app1.yaml" in wanted
    assert wanted - set(zipfile.ZipFile(wheel).namelist()) == set()
