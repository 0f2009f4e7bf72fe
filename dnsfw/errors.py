"""What went wrong, where, and what would be right: the root of our errors and the form of a problem in a file."""

from dataclasses import dataclass


class DnsfwError(Exception):
    """Root of all errors that a user of dnsfw may see; the text tells what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One fault in one document.

    `path` is the way to the field (`spec.egress[0].toFQDNs[1]`), `right` what would be right there.
    """

    file: str
    line: int | None
    path: str
    what: str
    right: str = ""

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        field = f" {self.path}:" if self.path else ""
        hint = f"; {self.right}" if self.right else ""
        return f"{place}:{field} {self.what}{hint}"


class DocumentsError(DnsfwError):
    """Documents that cannot be taken into force; nothing of what is in force has changed."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems
