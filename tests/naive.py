"""The slow twin of the L2: dictionaries and lists, one line at a time, written without looking at the core's arrays.

A sectored, write-back, write-allocate cache whose stores of whole sectors fetch nothing.  Consecutive groups of lines
go to consecutive sets, each run over all sets beginning at a hashed place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from simulator.trace.record import Op

SECTOR = 32
LINE = 128


def hashed(number: int, size: int) -> int:
    """Return a multiplicative hash of `number` in 0 <= hash < `size` (Fibonacci hashing on 31 bits)."""
    number = number * 0x9E3779B1 % 2**31
    number ^= number >> 15
    return number * size // 2**31


@dataclass
class Line:
    """One resident line: its number and the sectors that are valid and dirty."""

    number: int
    valid: set[int] = field(default_factory=set)
    dirty: set[int] = field(default_factory=set)


@dataclass
class NaiveL2:
    """An LRU cache of `sets` x `ways` lines over a memory that moves `access_bytes` at least."""

    sets: int
    ways: int
    access_bytes: int
    content: dict[int, list[Line]] = field(default_factory=dict)  # by set, the most recently used first
    counts: dict[str, int] = field(default_factory=dict)

    def access(self, op: Op, address: int, size: int) -> None:
        """Touch a byte range."""
        sectors = range(address // SECTOR, (address + size - 1) // SECTOR + 1)
        per_line = LINE // SECTOR
        for number in sorted({sector // per_line for sector in sectors}):
            self._line(op, number, {sector % per_line for sector in sectors if sector // per_line == number})

    def _line(self, op: Op, number: int, sectors: set[int]) -> None:
        ways = self.content.setdefault(self._set_of(number), [])
        line = next((line for line in ways if line.number == number), None)
        if line is None:
            line = Line(number)
            if len(ways) == self.ways:
                gone = ways.pop()
                self._count("WRITEBACK_SECTORS", len(gone.dirty))
                self._count("DRAM_WRITE_BYTES", self._moved(gone.dirty))
        else:
            ways.remove(line)
        ways.insert(0, line)
        kind = "WRITE" if op in (Op.WRITE, Op.REDUCE) else "READ"
        missing = sectors - line.valid
        self._count(f"{kind}_SECTOR_HITS", len(sectors & line.valid))
        self._count(f"{kind}_SECTOR_MISSES", len(missing))
        if op is not Op.WRITE:
            self._count("DRAM_READ_BYTES", self._moved(missing))
        line.valid |= sectors
        if kind == "WRITE":
            line.dirty |= sectors

    def _set_of(self, number: int) -> int:
        lines = math.gcd(self.sets, 32)
        group, lane = divmod(number, lines)
        turn, place = divmod(group, self.sets // lines)
        return (place + hashed(turn, self.sets // lines)) % (self.sets // lines) * lines + lane

    def _moved(self, sectors: set[int]) -> int:
        return -(-len(sectors) * SECTOR // self.access_bytes) * self.access_bytes

    def _count(self, name: str, amount: int) -> None:
        self.counts[name] = self.counts.get(name, 0) + amount
