"""What the tests in namespaces do in children of their own, done once where it is counted."""

from nft import expressions as x
from nft.fake import FakeKernel
from nft.objects import Chain, Element, Rule, Set, Table
from nft.transaction import Transaction

TABLE = Table("t")


def test_fake_keeps_what_a_transaction_makes() -> None:
    """Tables, chains, sets and elements by text, each in its table."""
    nets = Set(TABLE, "nets", ("ipv4_addr",), flags=frozenset({"interval"}))
    one = Set(TABLE, "one", ("ipv4_addr",))
    chain = Chain(TABLE, "c")
    made = Transaction().add(TABLE).add(chain).add(Rule(chain, "accept")).add(nets).add(one).add_members(nets, ["192.0.2.0/24"])
    kernel = FakeKernel(lambda: 0.0)
    kernel.foreign(made.add_element(Element(one, bytes(4))))

    assert [each.key for each in kernel.read_elements(nets)] == [bytes((192, 0, 2, 0))]
    assert [each.key for each in kernel.read_elements(one)] == [bytes(4)]


def test_steps_become_one_attribute() -> None:
    """A rule's expressions stand in one nested attribute, in order."""
    accept, drop = x.verdict("accept"), x.verdict("drop")

    assert x.encode((accept, drop))[4:] == b"".join((*accept, *drop))
