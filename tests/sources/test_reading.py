"""Reading a file piece by piece is reading the file, only cheaper."""

from itertools import chain
from textwrap import indent

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnsfw.policy.parse import Item, parse_document
from dnsfw.policy.reader import Refused
from dnsfw.sources.documents import read_documents
from dnsfw.sources.pieces import documents_of
from dnsfw.sources.reading import Memory, read_text

RULE = """apiVersion: dnsfw.io/v1alpha1
kind: FQDNEgressRule
metadata:
  name: {name}
  annotations:
    note: "a
      b"
spec:
  podSelector: {{}}
  egress:
  - toFQDNs:
    - www.example.net
"""
POD = """- apiVersion: v1
  kind: Pod
  metadata:
    name: {name}
    annotations:
      block: |
        - x
        ---x
  status: {{podIP: 192.0.2.1}}
"""


def pod_list(*names: str) -> str:
    return f'apiVersion: v1\nitems:\n{"".join(POD.format(name=name) for name in names)}kind: List\nmetadata:\n  resourceVersion: ""\n'


def rules(*names: str) -> str:
    return "---\n".join(RULE.format(name=name) for name in names)


INDENTED = "kind: List\napiVersion: v1\nitems:\n" + indent(POD.format(name="a") + POD.format(name="b"), "  ")


def taken(text: str, memory: Memory | None = None) -> tuple[Item, ...]:
    parsed, _ = read_text(text, "f", memory or {}, lambda: None)
    assert parsed.problems == ()
    return parsed.items


def uncut(text: str) -> tuple[Item, ...] | None:
    """What the text says when it is read from end to end; None: it has a fault."""
    try:
        nodes = list(read_documents(text, "f"))
    except Refused:
        return None
    parsed = [parse_document(node, "f") for node in nodes]
    items = tuple(chain.from_iterable(each.items for each in parsed))
    is_faulty = not parsed or any(each.problems for each in parsed)
    return None if is_faulty else items


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        pytest.param(rules("a", "b", "c"), 3, id="documents"),
        pytest.param(pod_list("a", "b", "c"), 3, id="list"),
        pytest.param(INDENTED, 2, id="indented-list"),
        pytest.param("---\n" + pod_list("a") + "---\n" + pod_list("b", "c") + "---\n" + rules("d"), 4, id="all"),
        pytest.param("apiVersion: v1\nkind: List\nitems: # none\n\n  # comment\n" + POD.format(name="a"), 1, id="comment"),
    ],
)
def test_pieces_are_read_with_their_lines(text: str, pieces: int) -> None:
    """Each object is a piece of its own, and stands on the line where it stands."""
    cut = [piece for document in documents_of(text) for piece in document.items or (document.whole,)]

    assert len(cut) == pieces
    assert taken(text) == uncut(text)


def test_only_what_changed_is_read_again() -> None:
    """One rule of many costs one; what moved to another line costs nothing, and is told with its new line."""
    read: list[None] = []
    _, memory = read_text("---\n" + rules("a", "b", "c"), "f", {}, lambda: read.append(None))
    first = len(read)
    changed = "# a comment\n---\n" + rules("a", "x", "c")
    parsed, _ = read_text(changed, "f", memory, lambda: read.append(None))

    assert first == 3
    assert len(read) - first == 2  # x, and the comment before the first marker
    assert parsed.items == uncut(changed)


def test_one_pod_of_a_list_is_read_again() -> None:
    """The same for a List's items; those before and after are the very same values."""
    read: list[None] = []
    before, memory = read_text(pod_list("a", "b", "c"), "f", {}, lambda: read.append(None))
    parsed, _ = read_text(pod_list("a", "x", "c"), "f", memory, lambda: read.append(None))

    assert len(read) == 4
    assert [new.value is old.value for new, old in zip(parsed.items, before.items, strict=True)] == [True, False, True]


def test_typed_list_names_its_items_kind() -> None:
    """What is remembered of an item depends on the List it stood in."""
    text = "apiVersion: v1\nkind: PodList\nitems:\n- metadata: {name: a}\n"
    _, memory = read_text(text, "f", {}, lambda: None)
    other, _ = read_text(text.replace("PodList", "NamespaceList"), "f", memory, lambda: None)

    assert [item.title for item in other.items] == ["Namespace a"]


def test_faults_are_found_again() -> None:
    """A piece is two documents where the line before the dashes ends in a carriage return alone: the good one must not hide the bad one."""
    text = rules("a").rstrip("\n") + "\r---\n" + rules("b").replace("metadata", "metdata")
    first, memory = read_text(text, "f", {}, lambda: None)
    again, _ = read_text(text, "f", memory, lambda: None)

    assert first.problems
    assert again == first


def test_faults_in_pieces_name_the_file_s_lines() -> None:
    """A fault in the third item is told on its line, with its place in the list; one in YAML likewise."""
    meaning, _ = read_text(pod_list("a", "b", "C"), "f", {}, lambda: None)
    syntax, _ = read_text(pod_list("a", "b", "{c"), "f", {}, lambda: None)

    assert [(problem.line, problem.path) for problem in meaning.problems] == [(24, "items[2].metadata.name")]
    assert [problem.line for problem in syntax.problems] == [25]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("\n\n", id="blank"),
        pytest.param("# nothing\n", id="comment"),
        pytest.param("---\n---\n# x\n", id="markers"),
    ],
)
def test_file_without_document_is_half_saved(text: str) -> None:
    """Nothing at all is said by a List without items, never by an empty file."""
    parsed, _ = read_text(text, "f", {}, lambda: None)

    assert [problem.what for problem in parsed.problems] == ["has no document, as if half saved"]
    assert taken("apiVersion: v1\nkind: List\nitems: []\n") == ()
    assert taken('{"apiVersion": "v1", "kind": "PodList", "items": []}') == ()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('a: "x\nitems:\n- k\nend"\nkind: List\napiVersion: v1\n', id="items-in-quotes"),
        pytest.param('a: "x\nitems:\n- k\nend"\nkind: List\napiVersion: v1\nitems: []\n', id="items-in-quotes-and-real"),
        pytest.param("kind: List\napiVersion: v1\nitems:\n- &a {}\n- *a\n", id="anchors-across-items"),
        pytest.param("kind: List\napiVersion: v1\nitems:\n- - a\n", id="item-a-list"),
        pytest.param("kind: Namespace\napiVersion: v1\nmetadata: {name: a}\n---x: b\n", id="no-marker"),
        pytest.param("kind: Pod\napiVersion: v1\nitems:\n- a\nmetadata: {name: a}\n", id="no-list"),
        pytest.param("x\nitems:\n- a\n", id="no-mapping"),
        pytest.param("kind: List\napiVersion: v1\nitems:#\n- {apiVersion: v1, kind: Pod, metadata: {name: a}}\n", id="no-comment"),
        pytest.param("kind: List\napiVersion: v1\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: a}}\n...\n---\n", id="ended"),
        pytest.param("kind: List\napiVersion: v1\nitems:\n- {apiVersion: v1, kind: Pod,\n- metadata: {name: a}}\n", id="open-brace"),
    ],
)
def test_wrong_cut_never_changes_the_meaning(text: str) -> None:
    """Where the text only looks like a List, it is read as what it is."""
    parsed, _ = read_text(text, "f", {}, lambda: None)

    assert (parsed.items if not parsed.problems else None) == uncut(text)


EDITS = (
    "",
    '"',
    "'",
    "- ",
    "-",
    "items:\n",
    "\nitems:\n- ",
    "---\n",
    "---\xa0",
    "\n---x\n",
    "#",
    " ",
    "\n",
    "|\n",
    ": ",
    "\r",
    "\u2028",
    "{",
    "}",
    "[",
    ",",
    "&a ",
    "*a",
    "...\n",
)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_cut_and_uncut_text_say_the_same(data: st.DataObject) -> None:
    """Whatever is done to a file, reading it in pieces gives what reading it from end to end gives; with a memory, too."""
    base = data.draw(st.sampled_from([pod_list("a", "b"), rules("a", "b"), pod_list("a") + "---\n" + rules("b"), INDENTED]))
    text = base
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.sampled_from([0, 0, 1, 3, 40])))
        text = text[:start] + data.draw(st.sampled_from(EDITS)) + text[end:]
    _, memory = read_text(base, "f", {}, lambda: None)
    parsed, _ = read_text(text, "f", memory, lambda: None)

    assert shown(text, parsed.items if not parsed.problems else None) == shown(text, uncut(text))


def shown(text: str, items: tuple[Item, ...] | None) -> object:
    """With their lines, unless the text has ends of lines that YAML 1.1 counts and editors do not."""
    if items is None or not set(text) & set("\r\u2028"):
        return items
    return [item._replace(line=None) for item in items]
