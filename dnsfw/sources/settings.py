"""Where rules and pods come from; fixed for the life of the process."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesSettings:
    """Field by field:

    rules: a file or a folder of rules. pods: a file or a folder of pods and namespaces.
    node_name: take only this node's pods; "" takes all.
    """

    rules: Path
    pods: Path
    node_name: str = ""
