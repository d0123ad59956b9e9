"""A device as the system sees it: launch a kernel, advance to the next thing that happens, read its counters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.core import counter, scalar
from simulator.core.access_log import ENTRY_WORDS
from simulator.core.lanes import Packed, packed_lanes
from simulator.core.layout import (
    CONTEXT_DONE,
    CONTEXT_END,
    CONTEXT_KERNEL,
    CONTEXT_NEXT,
    CONTEXT_SM,
    KERNEL_ENDED,
    KERNEL_LAST,
    KERNEL_LIVE,
    KERNEL_MORE,
    KERNEL_PENDING,
    KERNEL_PLACED,
    KERNEL_PROLOGUE,
    KERNEL_RUN_GAP,
    KERNEL_RUNS,
    KERNEL_SLOTS,
    KERNEL_STAGES,
    KERNEL_WARMUP,
    KERNEL_WAVE,
    KERNEL_WEIGHT,
    L1_VALID,
    MAX_STAGES,
    MAX_WAVES,
    SM_CAPACITY,
    SM_ROOM,
    Int64Array,
)
from simulator.core.program import RECORD_WORDS, THROUGH_L1
from simulator.core.replay import LOGGED, REACHED, STARVED, advance
from simulator.core.state import MOST_GROUP_LINES, State, as_record
from simulator.core.transfer import post_transfer
from simulator.errors import DeadlockError, TraceError
from simulator.hardware import Hardware
from simulator.memory.observer import LOG_WORDS, AccessObserver
from simulator.memory.occupancy import ctas_per_sm
from simulator.memory.parameters import core_parameters
from simulator.trace.record import COLUMNS, KernelHeader, Records, TracedKernel

FOREVER = 1 << 62
MAX_TAG = (1 << 31) - 1
MOST_NAMED = 4  # CTAs of a kernel, where none can move
PACKED = [name for name in COLUMNS if name not in ("kernel", "requester")]


@dataclass
class _Launch:
    header: KernelHeader
    chunks: Iterator[Records]
    fed: int = 0


class Device:
    """The memory system of one device between kernel launches and completions.

    Kernels in flight share SMs, L2 and DRAM.  A kernel's records are taken from its chunks as its CTAs are placed,
    so that memory is bounded by two chunks, not by the trace.  An `observer` is told of every access; `room` is that of
    a device that is no longer used; `most_group_lines` is as `whole_group_lines` has it.
    """

    def __init__(
        self,
        hardware: Hardware,
        seed: int = 0,
        grouped: bool = True,
        observer: AccessObserver | None = None,
        room: Int64Array | None = None,
        most_group_lines: int = MOST_GROUP_LINES,
    ) -> None:
        self.hardware = hardware
        self.parameters = core_parameters(hardware, seed, grouped, LOG_WORDS if observer else 0, most_group_lines)
        self._record = as_record(self.parameters)
        self._state = State(self.parameters, room)
        self._launches: dict[int, _Launch] = {}
        self._retired = np.zeros(counter.COUNT, np.int64)
        self._pool = _Pool()
        self._has_l1 = False
        self._observer = observer
        if observer is not None:
            observer.attached(self.parameters)

    @property
    def room(self) -> Int64Array:
        """What another device can be laid out in, after which this one must not be used."""
        return self._state.room

    @property
    def busy(self) -> bool:
        """Whether a kernel is in flight."""
        return bool(self._launches)

    def launch(self, kernel: TracedKernel) -> int:
        """Start a kernel at the time of the next `advance`; return its slot."""
        state, header = self._state, kernel.header
        slot = next(s for s in range(KERNEL_SLOTS) if s not in self._launches)
        state.counters[slot] = 0
        its = state.kernels[slot]
        its[KERNEL_PENDING] = its[KERNEL_LAST] = its[KERNEL_LIVE] = 0
        its[KERNEL_MORE] = 1
        resident = ctas_per_sm(self.hardware.sm, header)
        its[KERNEL_WEIGHT] = SM_CAPACITY // resident
        its[KERNEL_WAVE] = resident * self.hardware.sm.count
        its[KERNEL_PLACED] = its[KERNEL_ENDED] = 0
        its[KERNEL_RUNS] = self._runs(header.run_bytes)
        its[KERNEL_RUN_GAP] = header.run_gap_ps
        its[KERNEL_WARMUP] = header.warmup_ps
        its[KERNEL_PROLOGUE] = self.hardware.launch.cta_start_ps + header.prologue_ps
        its[KERNEL_STAGES] = min(header.stages, MAX_STAGES)
        count = int(state.scalars[scalar.KERNELS])
        state.order[count] = slot
        state.scalars[scalar.KERNELS] = count + 1
        if not self._launches:
            state.scalars[scalar.NEXT_SM] = 0
            state.scalars[scalar.WAS_IDLE] = 1
        if state.scalars[scalar.L1_USED]:
            self._hand_over_log()
            state.l1_uses[:, L1_VALID] = 0
            state.scalars[scalar.L1_USED] = 0
        self._launches[slot] = _Launch(header, iter(kernel.chunks))
        if self._observer is not None:
            self._observer.launched(slot, header)
        self._feed(slot)
        return slot

    def advance(self, now: int, until: int = FOREVER) -> tuple[int, int | None]:
        """Run from `now` until a kernel ends or `until` is reached (ps); return the time and the slot that ended.

        Raises DeadlockError when work is left and nothing is in flight.
        """
        while True:
            reason, time = advance(self._state.words, self._record, self._pool.program, self._pool.starts, now, until)
            now = int(time)
            if reason == REACHED:
                if self.busy and self._state.scalars[scalar.HEAP] == 0:
                    raise DeadlockError(self._waiting())
                return now, None
            if reason == LOGGED:
                self._hand_over_log()
                continue
            slot = int(self._state.scalars[scalar.REPORTED])
            if reason != STARVED:
                return now, slot
            self._feed(slot)

    def post_transfer(self, size: int, writing: bool, now: int) -> None:
        """Let `size` bytes copied to (`writing`) or from device memory take channel time from `now` on (ps)."""
        post_transfer(self._state.words, self._record, size, writing, now)

    def waves(self, slot: int) -> tuple[tuple[int, int], ...]:
        """Return when the waves of a kernel's CTAs, as many as fit at once in the order of placement, began and ended
        (ps); the last of `MAX_WAVES` stands for all that follow."""
        its = self._state.kernels[slot]
        count = min(-(-int(its[KERNEL_ENDED]) // int(its[KERNEL_WAVE])), MAX_WAVES)
        return tuple((int(begin), int(end)) for begin, end in self._state.waves[slot, :count])

    def counted(self) -> NDArray[np.int64]:
        """Return the sums of what all kernels so far have counted."""
        live: NDArray[np.int64] = self._state.counters[list(self._launches)].sum(axis=0)
        return self._retired + live

    def retire(self, slot: int) -> NDArray[np.int64]:
        """Forget a kernel that ended; return its counters."""
        state = self._state
        self._hand_over_log()
        count = int(state.scalars[scalar.KERNELS])
        order = [s for s in state.order[:count].tolist() if s != slot]
        state.order[: len(order)] = order
        state.scalars[scalar.KERNELS] = len(order)
        del self._launches[slot]
        if not self._launches:
            self._pool.clear()
        counters = np.array(state.counters[slot], np.int64)
        self._retired += counters
        return counters

    def _hand_over_log(self) -> None:
        """Give the observer, if there is one, what was logged since the last time."""
        state = self._state
        logged = int(state.scalars[scalar.LOGGED])
        if self._observer is None or not logged:
            return
        if logged > len(state.log):
            raise TraceError("a record is too large to be explained; split it into records of at most 16 MiB")
        self._observer.logged(state.log[:logged].reshape(-1, ENTRY_WORDS))
        state.scalars[scalar.LOGGED] = 0

    def _runs(self, run_bytes: int) -> int:
        """Return how many rows a whole line group opens in each channel if it is made of runs of `run_bytes`."""
        p = self.parameters
        return max(1, (1 << p.group_shift) // (run_bytes << p.dram.channel_shift)) if run_bytes > 0 else 0

    def _feed(self, slot: int) -> None:
        """Give a kernel its next chunk of CTAs."""
        launch, state = self._launches[slot], self._state
        chunk = next(launch.chunks, None)
        if chunk is None:
            state.kernels[slot, KERNEL_MORE] = 0
            return
        p = self.parameters
        self._pool.trim(state, list(self._launches))
        packed = self._pool.pack(chunk, 1 << p.line_shift, bool(p.plain and p.group_lines > 1))
        if packed.addresses >> p.group_shift > MAX_TAG:
            raise TraceError(f"kernel {launch.header.name}: an address is beyond what the L2 tags can hold")
        if not self._has_l1 and packed.flags & THROUGH_L1:
            state.empty_l1(p)
            self._has_l1 = True
        launch.fed += len(chunk)
        state.kernels[slot, [KERNEL_PENDING, KERNEL_LAST]] = self._pool.append(packed)
        state.kernels[slot, KERNEL_MORE] = int(launch.fed < launch.header.records)

    def _waiting(self) -> str:
        kernels = [self._requesters(slot, launch.header.name) for slot, launch in self._launches.items()]
        return "nothing in flight, but work is left: " + "; ".join(kernels)

    def _requesters(self, slot: int, name: str) -> str:
        """Return which CTAs of a kernel wait, and for what."""
        state, its = self._state, self._state.kernels[slot]
        held = set(range(len(state.contexts))) - set(state.free[: state.scalars[scalar.FREE]].tolist())
        ctas = [state.contexts[number] for number in sorted(held) if state.contexts[number, CONTEXT_KERNEL] == slot]
        words = f"{name}: {its[KERNEL_LIVE]} CTAs resident, {its[KERNEL_LAST] - its[KERNEL_PENDING]} waiting"
        shown = [
            f"one on SM {cta[CONTEXT_SM]} for an event to issue the first of its {cta[CONTEXT_END] - cta[CONTEXT_NEXT]}"
            f" records left, its last being done at {cta[CONTEXT_DONE]} ps"
            for cta in ctas[:MOST_NAMED]
        ]
        if its[KERNEL_PENDING] < its[KERNEL_LAST]:
            room = int(state.sms[:, SM_ROOM].max())
            shown.append(f"CTA {its[KERNEL_PENDING]} for {its[KERNEL_WEIGHT]} units of an SM, of which {room} are free")
        left_out = len(ctas) - MOST_NAMED
        return words + "".join(f", {text}" for text in shown) + (f", {left_out} more" if left_out > 0 else "")


class _Pool:
    """The records of the CTAs in flight or waiting, packed for the core: CTA c owns records starts[c] to
    starts[c + 1].

    They are in a room that is kept, since new pages take the operating system a while (of 4 million records at once
    packed 11.5 -> 8.5 ns each).
    """

    def __init__(self) -> None:
        self._room = np.empty(0, np.int64)
        self.clear()

    def clear(self) -> None:
        """Drop all records; no CTA may be in flight."""
        self._begin = self._end = 0
        self.starts = np.zeros(0, np.int64)

    @property
    def program(self) -> Int64Array:
        """The words of the records."""
        return self._room[self._begin : self._end]

    def _room_for(self, words: int) -> Int64Array:
        """Return room for so many words after those of the records, which may have to move for it."""
        if self._end + words > len(self._room):
            held = self.program
            room = self._room if len(held) + words <= len(self._room) else np.empty(len(held) + words, np.int64)
            room[: len(held)] = held
            self._room, self._begin, self._end = room, 0, len(held)
        return self._room[self._end : self._end + words]

    def pack(self, chunk: Records, line_bytes: int, gathers: bool) -> Packed:
        """Return a chunk of whole CTAs, with `gathers` or not, in room from which it is to be appended next."""
        columns = {name: getattr(chunk, name) for name in PACKED}
        room = self._room_for(len(chunk) * RECORD_WORDS)
        return packed_lanes(chunk.requester, columns, line_bytes, gathers, room)

    def append(self, packed: Packed) -> tuple[int, int]:
        """Add what was packed last; return the range of its CTA numbers."""
        offset, first = (self._end - self._begin) // RECORD_WORDS, len(self.starts)
        self._end += packed.words.size
        self.starts = np.concatenate((self.starts, packed.starts + offset))
        return first, first + len(packed.starts) - 1

    def trim(self, state: State, slots: list[int]) -> None:
        """Drop the records and CTA numbers before the first that a resident or waiting CTA still needs."""
        if not len(self.starts):
            return
        free = np.zeros(len(state.free), np.bool_)
        free[state.free[: state.scalars[scalar.FREE]]] = True
        resident = np.flatnonzero(~free)
        kernels = state.kernels[slots]
        waiting = kernels[kernels[:, KERNEL_PENDING] < kernels[:, KERNEL_LAST], KERNEL_PENDING]
        ctas = int(waiting.min(initial=len(self.starts)))
        held = (self._end - self._begin) // RECORD_WORDS
        records = min([held, *state.contexts[resident, CONTEXT_NEXT].tolist(), *self.starts[ctas : ctas + 1].tolist()])
        if records < held // 2:
            return  # not worth the copy
        self._begin += records * RECORD_WORDS
        self.starts = self.starts[ctas:] - records
        state.contexts[resident, CONTEXT_NEXT] -= records
        state.contexts[resident, CONTEXT_END] -= records
        for slot in slots:
            state.kernels[slot, [KERNEL_PENDING, KERNEL_LAST]] -= ctas
