"""Reads where DRAM is steady (see `DramParameters`): what `serve` does then, in less than half the instructions, whose
counters are for the caller to sum up."""

from __future__ import annotations

from simulator.core.compiled import small_function
from simulator.core.dram import own_record, use
from simulator.core.dram_state import (
    ACTIVATE,
    BUS,
    CLOSE_FROM,
    COLUMN_FROM,
    OLD_CLOSES,
    OLD_COLUMN_FROM,
    OLD_ROW,
    ROW,
    DramParameters,
)
from simulator.core.layout import Int64Array


@small_function
def book_transfer(
    m: Int64Array, q: DramParameters, gates: int, columns: int, lane: int, column: int, burst: int, now: int
) -> int:
    """Book the data bus for `burst` and the columns of a bank group for `column`, in one channel of a channel group or
    in all (WHOLE); return when both can begin (ps)."""
    columns_free = use(m, columns, lane, q.group_channels, now, column)
    return max(use(m, gates + BUS * q.gate_words, lane, q.group_channels, now, burst), columns_free)


@small_function
def read_row(
    m: Int64Array,
    q: DramParameters,
    gates: int,
    record: int,
    lane: int,
    row: int,
    more: int,
    runs: int,
    ready: int,
    now: int,
) -> tuple[int, int, bool, bool]:
    """Read accesses to a row, the last of them `more` after the first, once what `book_transfer` books is `ready`,
    `runs` rows being opened whatever is open (0: the row, if it is not); return when the last one has been transferred,
    how long they waited for their row (ps), whether any had to be opened, and another one to be closed."""
    own_record(m, record, lane)
    column = q.column_read_ps
    column_from, close_from, open_row = m[record + COLUMN_FROM], m[record + CLOSE_FROM], m[record + ROW]
    if runs == 0 and open_row == row:
        last = max(ready, column_from) + more
        m[record + COLUMN_FROM] = last + column
        m[record + CLOSE_FROM] = max(close_from, last + q.t_rtp_ps)
        return last + q.burst_ps, 0, False, False
    if runs == 0 and m[record + OLD_ROW] == row:
        last = max(ready, m[record + OLD_COLUMN_FROM]) + more
        if last + q.t_rtp_ps <= m[record + OLD_CLOSES]:
            m[record + OLD_COLUMN_FROM] = last + column
            return last + q.burst_ps, 0, False, False
    rows = max(1, runs)
    opens = use(m, gates + ACTIVATE * q.gate_words, lane, q.group_channels, now, rows * q.activate_ps)
    closes = max(now, close_from)
    stands = open_row >= 0
    m[record + OLD_ROW] = open_row
    if stands:
        m[record + OLD_COLUMN_FROM] = column_from
        m[record + OLD_CLOSES] = closes
        closes += q.t_rp_ps
    opens = max(opens, closes)
    begins = max(ready, opens + q.t_rcd_ps)
    last = begins + more
    m[record + COLUMN_FROM] = last + column
    m[record + ROW] = row
    m[record + CLOSE_FROM] = max(opens + q.t_ras_ps, last + q.t_rtp_ps)
    return last + q.burst_ps, begins - ready, True, stands
