"""Where each word of a device's state lies within its record.

The state is one array of 64-bit words, so that a function that takes it takes one argument, and what an access needs
of a set, a CTA or an SM lies in one or two cache lines.  Where the records of a kind begin is in `state.Places`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Int64Array = NDArray[np.int64]

KERNEL_SLOTS = 64
KERNEL_PENDING = 0  # next CTA to place
KERNEL_LAST = 1  # end of the placed chunk
KERNEL_MORE = 2  # further chunks will come
KERNEL_LIVE = 3  # resident CTAs
KERNEL_WEIGHT = 4  # room a CTA takes of an SM
KERNEL_STAGES = 5
KERNEL_RUNS = 6  # rows that a whole line group opens in each channel whatever is open, 0: see KernelHeader.run_bytes
KERNEL_PROLOGUE = 7  # from placement to first access
KERNEL_WAVE = 8  # CTAs that fit on all SMs at once
KERNEL_PLACED = 9  # CTAs placed, and ended
KERNEL_ENDED = 10
KERNEL_RUN_GAP = 11  # see KernelHeader.run_gap_ps
KERNEL_WARMUP = 12  # on top of the prologue, of the CTAs of the first wave
KERNEL_WORDS = 16

MAX_WAVES = 32
"""Waves of a kernel whose times are kept; the last of them stands for all that follow."""

SPLIT = 0  # whether the lanes of a set group of L2 are described apart
STREAK = 1  # per partition: whole-group misses since a part of a group was last touched
SET_GROUP_WORDS = 4

L1_READY = 8  # of a set of an L1, after its tags (core/sets.py): when what each way holds is there
L1_SET_WORDS = 24
L1_ORDER = 0  # the same of these sets as ORDER and VALID of core/sets.py, those of four in a cache line
L1_VALID = 1
L1_USE_WORDS = 2

SM_PORT_FREE = 0  # ticks
SM_COMPUTE_FREE = 1  # ticks
SM_L1_FREE = 2  # ticks
SM_ROOM = 3
SM_RESIDENTS = 4
SM_SINCE = 5  # up to when its time has been counted
SM_IDLE = 6  # what its time without a CTA counts as
SM_QUEUE = 8  # of bytes in flight, see core/in_flight.py
SM_WORDS = 16

WAITING_HEADER = 2  # words before those of the CTAs that wait for room in an SM, see core/waiting.py

CONTEXT_NEXT = 0  # record
CONTEXT_END = 1  # record
CONTEXT_SM = 2
CONTEXT_KERNEL = 3
CONTEXT_DONE = 4  # end of the last computation
CONTEXT_BUFFER = 5  # buffer of the next record
CONTEXT_WAITS = 6  # what it waits for, see core/ledger.py
CONTEXT_ASKED = 7  # bytes it waits for room for in its SM, else 0
CONTEXT_RING = 8  # when each buffer is free again
MAX_STAGES = 16
CONTEXT_WORDS = CONTEXT_RING + MAX_STAGES

WHY_TOTAL = 10  # sum of the words before, what a record waited for: counter.PARTS
WHY_WORDS = 12

CONTEXT_BITS = 14
MAX_CONTEXTS = 1 << CONTEXT_BITS
"""An event is one integer, time x 2^14 + context: 2^49 ps are 560 s of simulated time in one advance chain."""

SM_CAPACITY = 1 << 20
"""Room of one SM; a CTA takes SM_CAPACITY // (CTAs of its kernel that fit), so that kernels can share an SM."""

TICKS_PER_PS = 1024
"""Bandwidth servers that several units share keep time in 1/1024 ps, so that a 32-byte sector at 10 TB/s (3.2 ps)
is not rounded to a whole picosecond."""
