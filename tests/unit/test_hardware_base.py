"""A device described by what differs from another: do the rules give what was measured, and are slips named?

The rules are held against devices that ship with descriptions of their own, many of them measured, each derived here
from a relative as a reader of its data sheet would: the file below says what the sheet says and no more.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from simulator.errors import ConfigError
from simulator.hardware import Dtype, Hardware, ResolvedHardware, load
from simulator.validation.kernels.suite import DEVICES

SHEETS = {
    ("l40s", "l40"): 'sm.clock = "2520 MHz"',
    ("rtx-5060-ti", "rtx-pro-6000"): 'sm.count = 36\nsm.clock = "2572 MHz"\nhbm.size = "16 GiB"\nhbm.stacks = 4',
    ("v100-sxm-32gb", "v100-pcie-16gb"): 'sm.clock = "1530 MHz"\nhbm.size = "32 GiB"',
    ("h100-sxm", "h100-pcie"): (
        'sm.count = 132\nsm.clock = "1980 MHz"\n'
        'hbm.standard = "hbm3"\nhbm.channels = 32\nhbm.data_rate = "5.238 Gbit/s"'
    ),
    ("h200-sxm", "h100-sxm"): (
        'hbm.size = "140 GiB"\nhbm.standard = "hbm3e"\nhbm.stacks = 6\nhbm.data_rate = "6.402 Gbit/s"'
    ),
    ("gh200", "h200-sxm"): 'hbm.size = "95 GiB"\nhbm.standard = "hbm3"\nhbm.data_rate = "5.238 Gbit/s"',
    ("gb200", "b200-sxm"): "sm.count = 152\nhbm.channels = 31",
}
AS_UNSEEN = Path(__file__).parents[2] / "validation" / "as_unseen"
PAIRS = pytest.mark.parametrize(("device", "base"), SHEETS)


def _load(folder: Path, base: str, text: str) -> ResolvedHardware:
    path = folder / "own.toml"
    path.write_text(f'base = "{base}"\n{text}\n', encoding="utf-8")
    return load(str(path))


def _fails(folder: Path, base: str, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        _load(folder, base, text)
    message = str(caught.value)
    assert "\n" not in message and "own.toml" in message
    return message


def _dram_latency_ps(spec: Hardware) -> float:
    """Return a hop of a pointer chase: half of them cross to the other partition, and each opens a row."""
    crossing = (spec.l2.cross_latency_ps or 0) / 2 if spec.l2.partitions == 2 else 0
    return spec.l2.hit_latency_ps + crossing + spec.hbm.t_rp_ps + spec.hbm.t_rcd_ps + spec.hbm.latency_ps


@PAIRS
def test_rules_give_the_l2_of_devices_that_are_described_in_full(tmp_path: Path, device: str, base: str) -> None:
    found, shipped = _load(tmp_path, base, SHEETS[device, base]).spec.l2, load(device).spec.l2
    assert (found.slices, found.size_bytes, found.partitions) == (
        shipped.slices,
        shipped.size_bytes,
        shipped.partitions,
    )
    assert found.clock_hz == pytest.approx(shipped.clock_hz, rel=0.002)
    assert found.cross_bytes_per_clock == shipped.cross_bytes_per_clock
    assert found.slice_sites == shipped.slice_sites


@PAIRS
def test_latencies_come_near_those_that_were_measured(tmp_path: Path, device: str, base: str) -> None:
    """Of the H100 SXM and PCIe both were measured; the others differ in how they were rounded."""
    found, shipped = _load(tmp_path, base, SHEETS[device, base]).spec, load(device).spec
    assert _dram_latency_ps(found) == pytest.approx(_dram_latency_ps(shipped), rel=0.06)
    if device != "v100-sxm-32gb":  # described with the card's in ns
        assert found.l1.hit_latency_ps == pytest.approx(shipped.l1.hit_latency_ps, rel=0.02)
        assert found.launch.cta_start_ps == pytest.approx(shipped.launch.cta_start_ps, rel=0.05)


@PAIRS
def test_bytes_in_flight_are_those_of_the_full_description(tmp_path: Path, device: str, base: str) -> None:
    found, shipped = _load(tmp_path, base, SHEETS[device, base]).spec, load(device).spec
    assert found.sm.outstanding_bytes == shipped.sm.outstanding_bytes
    latency_s = _dram_latency_ps(found) * 1e-12
    assert found.l2.outstanding_bytes >= 2 * found.hbm.peak_bytes_per_s * latency_s


@pytest.mark.parametrize("gpu", ["rtx_pro_6000_server", "h200_sxm", "gb200"])
def test_devices_described_as_if_unseen_have_the_peaks_of_those_that_ship(gpu: str) -> None:
    found, shipped = load(str(AS_UNSEEN / f"{gpu}.toml")).spec, load(DEVICES[gpu]).spec
    assert found.hbm.peak_bytes_per_s == shipped.hbm.peak_bytes_per_s
    assert found.tensor_flops_per_s(Dtype.BF16) == shipped.tensor_flops_per_s(Dtype.BF16)
    assert found.compute_capability == shipped.compute_capability


def test_more_bytes_are_in_flight_where_memory_would_not_be_filled(tmp_path: Path) -> None:
    """Eight times the memory: 1.3 x 6912 GB/s x 378 ns / 142 SMs = 23.9 KB, of which 32 KiB is the next power of two;
    48 slices of 128-byte lines hold twice 6912 GB/s x 252 ns with 567 lines each, the third multiple of 192."""
    device = _load(tmp_path, "l40s", 'hbm.data_rate = "144 Gbit/s"')
    assert device.spec.sm.outstanding_bytes == 32 * 1024
    assert device.spec.l2.mshrs == 576
    assert "142 SMs = 23.9 KB" in device.sources["sm.outstanding"]


def test_what_is_given_is_taken_and_what_follows_says_so(tmp_path: Path) -> None:
    device = _load(
        tmp_path, "l40s", 'sm.clock = "1260 MHz"\nl2.clock = { value = "1 GHz", source = "mine" }\nl2.ways = 8'
    )
    assert device.spec.l2.clock_hz == 10**9 and device.sources["l2.clock"] == "mine"
    assert device.spec.l1.hit_latency_ps == 2 * load("l40s").spec.l1.hit_latency_ps
    assert device.sources["l1.hit_latency"].startswith("derived, l40s's SM cycles")
    assert device.sources["l2.slices"].startswith("as l40s, ")
    assert "l2.ways" not in device.sources  # given, and nothing said of where it is from


def test_a_kept_up_rate_is_the_same_share_of_another_peak(tmp_path: Path) -> None:
    rates = _load(tmp_path, "l40s", "sm.tensor_flops_per_clock.bf16 = 512").spec.sm.sustained_tensor_flops_per_clock
    assert rates is not None and (rates.bf16, rates.fp16) == (376, 752)


def test_another_memory_brings_its_timing_and_keeps_the_latency(tmp_path: Path) -> None:
    device, base = _load(tmp_path, "l40s", 'hbm.standard = "gddr7"\nhbm.channels = 4').spec, load("l40s").spec
    assert device.hbm.t_ras_ps == load("rtx-pro-6000").spec.hbm.t_ras_ps
    assert device.hbm.refresh == "spread" and device.hbm.t_rfc_ps > base.hbm.t_rfc_ps
    assert _dram_latency_ps(device) == _dram_latency_ps(base)


def test_one_partition_in_place_of_two_keeps_the_latency_of_memory(tmp_path: Path) -> None:
    device = _load(tmp_path, "h100-sxm", "l2.partitions = 1").spec
    assert _dram_latency_ps(device) == _dram_latency_ps(load("h100-sxm").spec)


def test_a_base_may_be_a_file_beside_it_with_a_base_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "first.toml").write_text('base = "l40s"\nname = "first"\nsm.count = 58\n', encoding="utf-8")
    device = _load(tmp_path, "first.toml", 'l2.size = "48 MiB"').spec
    assert (device.name, device.sm.count, device.l2.size_bytes) == ("first", 58, 48 << 20)


@pytest.mark.parametrize(
    ("base", "text", "words"),
    [
        ("l40z", "", ["base: unknown hardware 'l40z'", "did you mean 'l40"]),
        ("own.toml", "", ["base: own.toml is based on this file itself"]),
        ("l40s", "sm.counts = 3", ["sm.counts: unknown key; did you mean 'count'?"]),
        ("l40s", 'sm.clock = "2 parsec"', ["sm.clock", "parsec", "MHz"]),
        ("l40s", "sm = 3", ["sm: "]),
        ("l40s", 'hbm.standard = "gddr9"', ["hbm.standard", "did you mean 'gddr"]),
        ("l40s", 'l2.size = "7 MB"', ["l2.size: must be a multiple"]),
        ("a100-sxm-80gb", "l2.slices = 48", ["l2.slice_sites: must divide the 24 slices"]),
    ],
)
def test_a_slip_over_a_base_names_the_file_and_the_key(tmp_path: Path, base: str, text: str, words: list[str]) -> None:
    message = _fails(tmp_path, base, text)
    for word in words:
        assert word in message


def test_a_file_with_little_in_it_is_told_of_bases(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text('name = "X"\n[sm]\ncount = 3\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r'own\.toml: l1, l2, hbm, launch: missing; .* base = "l40s"'):
        load(str(path))


def test_base_that_is_no_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text("base = 3\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="base: write the name of a device or the path of a file"):
        load(str(path))
