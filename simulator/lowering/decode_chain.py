"""How long a piece of work of the generated kernels takes from its keys to its result, by published latencies.

Warps hand it on: keys to those that multiply, scores to those that take the softmax, weights back, outputs to those
that rescale and store them, which hand back the room of the outputs.  Keys and values alone are loaded in advance.
Up to 32 queries are the columns of each product and keys its rows, so that maxima and sums go over the lanes of a warp
and then over warps (SwapsMmaAbForGeneration in fmhaKernels.cuh); more are its rows (KeepsMmaAbForGeneration).
"""

from __future__ import annotations

from simulator.hardware import Hardware
from simulator.lowering.decode_tile import EXCHANGE_CYCLES, Tile, step_of
from simulator.workload.operators import AttentionShape

HAND_OVERS, HAND_OVER_CYCLES = 5, 111  # of an mbarrier, arrival and wait (57.7 ns of a B300 at 1920 MHz, QuickRunCUDA)
INSTRUCTION_BYTES, INSTRUCTION_ROWS = 32, 128  # of an operand's row, and rows, that one instruction multiplies
INSTRUCTION_CYCLES, COLUMNS_PER_CLOCK = 44, 2  # of it at least, and columns a clock (QuickRunCUDA, B300)
MOST_SWAPPED = 32  # queries of a tile that are columns
LANES, SHUFFLES = 32, 5  # of a warp; by which a number of each lane is reduced over them, one of the SM a clock
REDUCTIONS = 2  # maxima and sums


def product_cycles(shape: AttentionShape, tile: Tile) -> int:
    """Return the SM cycles of both products of a step."""
    keys, head, width = step_of(tile), shape.head_dim, shape.kv_dtype.bytes
    scores = -(-keys // INSTRUCTION_ROWS) * -(-head * width // INSTRUCTION_BYTES)  # instructions
    outputs = -(-keys * width // INSTRUCTION_BYTES)
    if tile.queries <= MOST_SWAPPED:
        each = max(INSTRUCTION_CYCLES, tile.queries // COLUMNS_PER_CLOCK)
        return (scores + -(-head // INSTRUCTION_ROWS) * outputs) * each
    of_keys = max(INSTRUCTION_CYCLES, INSTRUCTION_ROWS // COLUMNS_PER_CLOCK)
    return scores * of_keys + outputs * max(INSTRUCTION_CYCLES, head // COLUMNS_PER_CLOCK)


def ending_cycles(tile: Tile, hardware: Hardware) -> int:
    """Return the SM cycles that a piece of work takes beside loads and products: its last softmax, and from hand to
    hand."""
    keys = step_of(tile)
    softmax = keys * tile.queries / hardware.sm.exponentials_per_clock
    if tile.queries <= MOST_SWAPPED:
        softmax += REDUCTIONS * (SHUFFLES * tile.queries * keys // LANES + EXCHANGE_CYCLES)
    return round(HAND_OVERS * HAND_OVER_CYCLES + softmax)
