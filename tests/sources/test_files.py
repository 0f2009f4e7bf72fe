"""Files as people and programs save them: followed, never half, never weaker for a mistake."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dnsfw.errors import DocumentsError, Problem
from dnsfw.policy.model import World
from dnsfw.sources import content
from dnsfw.sources.files import FileSource
from dnsfw.sources.settings import FilesSettings

DEADLINE_S = 10.0
NO_PODS = "apiVersion: v1\nkind: List\nitems: []\n"


def rule(name: str) -> str:
    head = "apiVersion: dnsfw.io/v1alpha1\nkind: FQDNEgressRule\n"
    return f"---\n{head}metadata: {{name: {name}, namespace: shop}}\nspec: {{podSelector: {{}}, egress: []}}\n"


def pod(name: str, address: str) -> str:
    return f"---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop}}\nstatus: {{podIP: {address}}}\n"


@dataclass
class Folder:
    """A folder of rules and a file of pods."""

    rules: Path
    pods: Path

    def save(self, name: str, *rules: str) -> None:
        (self.rules / name).write_text("".join(map(rule, rules)))

    def source(self, node_name: str = "") -> FileSource:
        return FileSource(FilesSettings(rules=self.rules, pods=self.pods, node_name=node_name))


@dataclass
class Watched:
    """What a watched source has told so far."""

    source: FileSource
    worlds: list[World] = field(default_factory=list)
    problems: list[tuple[Problem, ...]] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        return [each.ref.name for each in self.worlds[-1].rules]

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not is_so():  # noqa: ASYNC110 - the world outside has no event to wait for
                await asyncio.sleep(0.01)

    async def until_rules(self, *names: str) -> None:
        await self.until(lambda: self.names == list(names))

    async def until_refused(self, count: int) -> None:
        await self.until(lambda: len(self.source.problems) == count)


@asynccontextmanager
async def watching(source: FileSource) -> AsyncIterator[Watched]:
    watched = Watched(source, [source.load()])
    async with asyncio.TaskGroup() as group:
        task = group.create_task(source.watch(watched.worlds.append, watched.problems.append), name="watch")
        yield watched
        task.cancel()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path / "rules", tmp_path / "pods.yaml")
    made.rules.mkdir()
    made.pods.write_text(NO_PODS)
    return made


def refusals(source: FileSource) -> list[str]:
    with pytest.raises(DocumentsError) as caught:
        source.load()
    return [str(problem) for problem in caught.value.problems]


def test_load_takes_rules_and_pods(folder: Folder) -> None:
    """Folder and file, rules and pods, whatever stands where."""
    folder.save("b.yaml", "b2", "b1")
    folder.save("a.yml", "a")
    (folder.rules / "c.json").write_text('{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}')
    folder.pods.write_text(pod("p", "192.0.2.1"))
    world = folder.source().load()

    assert [each.ref.name for each in world.rules] == ["a", "b1", "b2"]
    assert [str(each.addresses[0]) for each in world.pods] == ["192.0.2.1"]
    assert list(world.namespace_labels) == ["shop"]


def test_empty_folder_says_that_there_is_nothing(folder: Folder) -> None:
    """So does a List without items; neither is a mistake."""
    assert folder.source().load() == World()


def test_files_that_are_not_ours_are_left_alone(folder: Folder) -> None:
    """Editors' swap and backup files, hidden ones, other kinds of files, and folders are not read."""
    for name in (".a.yaml.swp", ".hidden.yaml", "a.yaml~", "a.yaml.bak", "#a.yaml#", "README.md", "4913"):
        (folder.rules / name).write_text("{")
    (folder.rules / "nested.yaml").mkdir()

    assert folder.source().load() == World()


def test_every_problem_at_start_is_told(folder: Folder) -> None:
    """A start with broken documents names all of them, in all files, and does not happen."""
    (folder.rules / "a.yaml").write_text(rule("A"))
    (folder.rules / "b.yaml").write_text("a: [\n")
    (folder.rules / "c.yaml").write_bytes(b"a: 1\nb: \xff\n")
    (folder.rules / "d.yaml").write_text("")
    (folder.rules / "e.yaml").symlink_to("nowhere.yaml")
    os.mkfifo(folder.rules / "f.yaml")
    (folder.rules / "g.yaml").symlink_to("g.yaml")
    folder.pods.unlink()

    told = refusals(folder.source())

    assert [line.split(": ")[0].removeprefix(str(folder.rules.parent)) for line in told] == [
        "/pods.yaml",
        "/rules/a.yaml:4",
        "/rules/b.yaml:2",
        "/rules/c.yaml:2",
        "/rules/d.yaml",
        "/rules/e.yaml",
        "/rules/f.yaml",
        "/rules/g.yaml",
    ]
    assert told[0].endswith("does not exist")
    assert told[-2].endswith("is not a regular file")


def test_too_large_a_file_is_not_read(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound is looked at before the content."""
    monkeypatch.setattr(content, "LARGEST", 100 << 10)
    (folder.rules / "a.yaml").write_text("#" * ((100 << 10) + 1))

    assert "is larger than" in refusals(folder.source())[0]


async def test_saved_change_is_followed(folder: Folder) -> None:
    """Written over, replaced by rename, added, removed: each is one new world."""
    folder.save("a.yaml", "a")
    async with watching(folder.source()) as watched:
        folder.save("a.yaml", "a", "b")
        await watched.until_rules("a", "b")
        folder.save(".new", "c")
        (folder.rules / ".new").rename(folder.rules / "a.yaml")
        await watched.until_rules("c")
        folder.save("b.yaml", "d")
        await watched.until_rules("c", "d")
        (folder.rules / "a.yaml").unlink()
        await watched.until_rules("d")

    assert len(watched.worlds) == 5
    assert watched.problems == []


async def test_broken_change_weakens_nothing(folder: Folder) -> None:
    """The broken file's last good state stays, the other file follows, and the repair is taken."""
    folder.save("a.yaml", "a1")
    folder.save("b.yaml", "b1")
    async with watching(folder.source()) as watched:
        (folder.rules / "a.yaml").write_text(rule("a2") + "---\nkind: x\n")
        await watched.until_refused(1)
        folder.save("b.yaml", "b2")
        await watched.until_rules("a1", "b2")
        folder.save("a.yaml", "a2")
        await watched.until_rules("a2", "b2")
        await watched.until_refused(0)

    assert [[problem.path for problem in told] for told in watched.problems] == [["kind"], []]
    assert watched.problems[0][0].line == 7


async def test_truncated_file_is_half_saved(folder: Folder) -> None:
    """An editor that empties a file before it writes takes no rule out of force."""
    folder.save("a.yaml", "a")
    async with watching(folder.source()) as watched:
        (folder.rules / "a.yaml").write_text("")
        await watched.until_refused(1)

    assert len(watched.worlds) == 1


async def test_file_named_by_itself_may_not_vanish(folder: Folder) -> None:
    """A folder's file may go; the file that --pods or --rules names may not, nor may the folder."""
    folder.save("a.yaml", "a")
    folder.pods.write_text(pod("p", "192.0.2.1"))
    async with watching(folder.source()) as watched:
        folder.pods.unlink()
        await watched.until_refused(1)
        folder.rules.rename(folder.rules.with_name("away"))
        await watched.until_refused(2)
        folder.rules.with_name("away").rename(folder.rules)
        folder.pods.write_text(pod("p", "192.0.2.2"))
        await watched.until(lambda: len(watched.worlds) == 2)
        await watched.until_refused(0)

    assert [str(each.pods[0].addresses[0]) for each in watched.worlds] == ["192.0.2.1", "192.0.2.2"]
    assert watched.names == ["a"]


async def test_configmap_is_switched_as_one(folder: Folder) -> None:
    """Kubernetes turns the link `..data` under the files' own links; all files follow in one world."""
    for version in ("1", "2"):
        data = folder.rules / f"..v{version}"
        data.mkdir()
        for name in ("a", "b"):
            (data / f"{name}.yaml").write_text(rule(f"{name}{version}"))
    (folder.rules / "..data").symlink_to("..v1")
    for name in ("a.yaml", "b.yaml"):
        (folder.rules / name).symlink_to(f"..data/{name}")
    async with watching(folder.source()) as watched:
        (folder.rules / "..tmp").symlink_to("..v2")
        (folder.rules / "..tmp").rename(folder.rules / "..data")
        await watched.until_rules("a2", "b2")

    assert len(watched.worlds) == 2


async def test_rule_that_stands_elsewhere_is_refused_with_its_file(folder: Folder) -> None:
    """The newer file is the broken one, and follows when the older lets go."""
    folder.save("b.yaml", "x", "b")
    async with watching(folder.source()) as watched:
        folder.save("a.yaml", "x", "a")
        await watched.until_refused(1)
        folder.save("b.yaml", "b")
        await watched.until_rules("a", "b", "x")
        await watched.until_refused(0)

    assert watched.problems[0][0].file == str(folder.rules / "a.yaml")


def test_nothing_new_is_no_new_world(folder: Folder) -> None:
    """A touched file, objects in another order, and a file without any leave the very same world in force."""
    folder.save("a.yaml", "a", "b")
    source = folder.source()
    world = source.load()
    (folder.rules / "a.yaml").touch()
    touched = source.load()
    folder.save("a.yaml", "b", "a")
    (folder.rules / "b.yaml").write_text(NO_PODS)

    assert touched is world
    assert source.load() is world


def test_what_cannot_be_read_just_now_is_tried_again(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many open files is no state of the file: it is read as soon as it can be."""
    folder.save("a.yaml", "a")
    real_open = Path.open
    monkeypatch.setattr(Path, "open", lambda *_, **__: (_ for _ in ()).throw(OSError(24, "Too many open files")))
    source = folder.source()
    told = refusals(source)
    monkeypatch.setattr(Path, "open", real_open)

    assert told[-1] == f"{folder.rules}/a.yaml: cannot be read: Too many open files"
    assert [each.ref.name for each in source.load().rules] == ["a"]


def test_file_that_does_not_stand_still_is_not_taken(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """While somebody writes, nobody reads; at start that is a problem with the file's name."""
    folder.save("a.yaml", "a")
    folder.save("b.yaml", "b")
    written = iter(range(10, 1000))
    monkeypatch.setattr("time.sleep", lambda _: (folder.rules / "a.yaml").write_text(rule(f"a{next(written)}")))

    assert refusals(folder.source()) == [f"{folder.rules}/a.yaml: does not stop changing"]


def test_file_that_changes_while_it_is_read_is_read_again(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read then is neither the old nor the new state."""
    folder.save("a.yaml", "a")
    real_read = content.read_stream
    changes = iter([rule("b") + "# now longer\n"])

    def read_and_change(stream: object, path: Path) -> str | Problem:
        text = real_read(stream, path)
        for change in changes:
            (folder.rules / "a.yaml").write_text(change)
        return text

    monkeypatch.setattr(content, "read_stream", read_and_change)

    assert [each.ref.name for each in folder.source().load().rules] == ["b"]
