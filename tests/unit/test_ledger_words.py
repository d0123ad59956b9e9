"""Does every part of a ledger have its words, and every word a part?"""

from simulator.report.figures.ledger import COLORS
from simulator.report.ledger import MEANINGS, name_of
from simulator.run.ledger import BETWEEN, COUNTED


def test_every_part_has_a_meaning_and_a_colour() -> None:
    assert set(MEANINGS) == {*COUNTED, *BETWEEN}
    assert {name_of(key) for key in MEANINGS} == set(COLORS)
