"""Index of each scalar of the state."""

HEAP = 0  # events
FREE = 1  # free contexts
L2_FREE = 2  # ticks
ACCESSES = 3  # of L2, a group counting once
NEXT_SM = 4
KERNELS = 5  # in flight
REPORTED = 6  # slot of the kernel that `advance` reports
L1_USED = 7  # 1: some L1 holds lines
MSHR_HEAD = 8
MSHR_TAIL = 9
MSHR_BYTES = 10
MISSED = 11  # per partition: sectors missed by the lanes last touched
ALIKE = 13  # per partition: 1 while these lanes are dirty in the same sectors
DIRTY = 15  # per partition: these sectors, -1 before the first lane
COUNT = 17
