"""Index of each scalar of the state."""

HEAP = 0  # events
FREE = 1  # free contexts
L2_FREE = 2  # ticks
ACCESSES = 3  # of L2, a group counting once
NEXT_SM = 4
KERNELS = 5  # in flight
REPORTED = 6  # slot of the kernel that `advance` reports
L1_USED = 7  # 1: some L1 holds lines
MSHR_QUEUE = 8  # of bytes on their way from and to DRAM, see core/in_flight.py: five words
MISSED = 13  # per partition: sectors missed by the lanes last touched
ALIKE = 15  # per partition: 1 while these lanes are dirty in the same sectors
DIRTY = 17  # per partition: these sectors, -1 before the first lane
MOVED = 19  # what `range_access` found: bytes that L2 moves, and when the last that L1 answers is in a register
LOADED = 20
LOGGED = 21  # words in the log of accesses
COUNT = 22
