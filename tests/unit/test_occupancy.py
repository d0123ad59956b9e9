"""Do as many CTAs fit an SM as the CUDA occupancy calculator says?"""

from __future__ import annotations

from dataclasses import replace

import pytest
from bare_kernel import BARE

from simulator import hardware
from simulator.errors import ConfigError
from simulator.memory.occupancy import ctas_per_sm

KIB = 1024


def fits(device: str, threads: int, registers: int, shared_bytes: int, *overrides: str) -> int:
    kernel = replace(BARE, threads=threads, registers=registers, shared_bytes=shared_bytes)
    return ctas_per_sm(hardware.load(device, overrides).spec.sm, kernel)


@pytest.mark.parametrize(
    ("threads", "registers", "shared_bytes", "expected"),
    [
        (32, 0, 0, 32),  # 32 CTA slots
        (256, 32, 0, 8),  # 2048 threads; 8 warps x 1024 registers x 8 = 65536 too
        (256, 33, 0, 6),  # 33 registers take 1280 a warp: 8 x 1280 = 10240, 6 fit 65536
        (256, 40, 0, 6),  # the same granule
        (256, 41, 0, 5),  # 1536 a warp: 12288, 5 fit
        (384, 168, 0, 1),  # 5376 a warp, 64512 a CTA: one
        (128, 255, 0, 2),  # 8192 a warp (255 rounds to 256), 32768 a CTA: two
        (1024, 64, 0, 1),  # 65536: the whole register file
        (1000, 32, 0, 2),  # 1000 threads take 32 warps
        (1, 0, 0, 32),  # a warp is the least
        (128, 0, 48 * KIB, 4),  # 49 KiB with the 1 KiB the runtime keeps: 4 in 228 KiB
        (128, 0, 56 * KIB, 4),  # 57 KiB x 4 = 228 KiB exactly
        (128, 0, 56 * KIB + 1, 3),
        (384, 168, 227 * KIB, 1),  # the most one CTA can have
    ],
)
def test_h100(threads: int, registers: int, shared_bytes: int, expected: int) -> None:
    """H100: 2048 threads, 32 CTAs, 65536 registers, 228 KiB per SM."""
    assert fits("h100-sxm", threads, registers, shared_bytes) == expected


def test_l40s_has_fewer_threads_and_slots() -> None:
    """Compute capability 8.9: 1536 threads, 24 CTAs."""
    assert fits("l40s", 32, 0, 0) == 24
    assert fits("l40s", 256, 32, 0) == 6


@pytest.mark.parametrize(
    ("threads", "registers", "shared_bytes", "scarce"),
    [(4096, 0, 0, "sm.threads"), (1024, 72, 0, "sm.registers"), (32, 0, 228 * KIB, "sm.shared_memory")],
)
def test_a_cta_too_big_for_an_sm(threads: int, registers: int, shared_bytes: int, scarce: str) -> None:
    with pytest.raises(ConfigError) as caught:
        fits("h100-sxm", threads, registers, shared_bytes)
    assert str(caught.value) == f"kernel bare: one CTA needs more than {scarce} has; raise it with --set"


def test_the_advice_helps() -> None:
    assert fits("h100-sxm", 32, 0, 228 * KIB, "sm.shared_memory=229 KiB") == 1
