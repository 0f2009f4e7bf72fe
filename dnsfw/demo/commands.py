"""What the running program says of itself, by its own commands.

Touches the program's socket, through `dnsfw grants` and `dnsfw audit`.
"""

import json
from typing import Any

from dnsfw.demo.inside import LabError
from dnsfw.demo.scene import Scene


def grants(scene: Scene) -> list[dict[str, Any]]:
    return _listing(scene, "grants", "--api", f"unix:{scene.program.socket}")


def audit(scene: Scene) -> list[dict[str, Any]]:
    return _listing(scene, "audit", "--audit-db", str(scene.program.audit_db))


def _listing(scene: Scene, *command: str) -> list[dict[str, Any]]:
    done = scene.lab.dnsfw(*command, "-o", "json")
    if done.status:
        raise LabError(f"dnsfw {command[0]}: {done.stderr}")
    items: list[dict[str, Any]] = json.loads(done.stdout)
    return items
