"""The shipped devices load, cite their numbers, and agree with data sheets and microbenchmarks."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulator import config
from simulator.errors import ConfigError
from simulator.hardware import Dtype, load

DEVICES = [
    "a10", "a100-sxm-40gb", "a100-sxm-80gb", "a30", "a40", "b200-sxm", "b300-sxm", "gb200", "gb300", "gh200",
    "h100-nvl", "h100-pcie", "h100-sxm", "h20", "h200-sxm", "jetson-orin-agx", "l4", "l40", "l40s", "mi210", "mi300x",
    "rtx-3090", "rtx-4090", "rtx-5060-ti", "rtx-5090", "rtx-pro-6000", "v100-pcie-16gb", "v100-sxm-32gb",
]  # fmt: skip
LINKS = ["cxl2", "cxl3", "nvlink-c2c", "pcie3", "pcie4", "pcie5", "pcie6"]
STANDARDS = ["ddr5", "gddr6", "gddr6x", "gddr7", "hbm2", "hbm2e", "hbm3", "hbm3e", "hbm4", "lpddr5", "lpddr5x"]
WITHOUT_SOURCE = {"name", "vendor", "architecture", "hbm.standard"}
TIMING_KEYS = {
    "n_bl", "n_ccd_s", "n_ccd_l", "n_ccd_l_wr", "t_cl", "t_cwl", "t_rcd", "t_rcd_wr", "t_rp", "t_ras", "t_rtp", "t_wr",
    "t_rrd_s", "t_rrd_l", "t_faw", "t_wtr", "t_rtw", "t_pre", "t_act", "refresh", "t_rfc", "t_refi", "banks",
    "bank_groups", "row", "access", "channel_bits", "command_sharing", "mapping", "bank_hash", "queue", "page_policy",
    "turn",
}  # fmt: skip

# Bus width in bits and data rate in Gbit/s per pin, from product pages and from what the driver reports.
PINS = {
    "v100-pcie-16gb": (4096, 1.754),
    "v100-sxm-32gb": (4096, 1.754),
    "a100-sxm-80gb": (5120, 3.186),
    "h100-sxm": (5120, 5.238),
    "h100-pcie": (5120, 3.186),
    "h100-nvl": (6144, 5.128),
    "h20": (6144, 5.238),
    "gh200": (6144, 5.238),
    "h200-sxm": (6144, 6.402),
    "b200-sxm": (7680, 7.992),
    "b300-sxm": (7680, 7.992),
    "gb200": (7936, 7.992),
    "gb300": (7936, 7.992),
    "a10": (384, 12.5),
    "a30": (3072, 2.43),
    "a100-sxm-40gb": (5120, 2.43),
    "a40": (384, 14.5),
    "l4": (192, 12.5),
    "l40": (384, 18.0),
    "l40s": (384, 18.0),
    "rtx-pro-6000": (512, 28.0),
    "rtx-5060-ti": (128, 28.0),
    "rtx-5090": (512, 28.0),
    "rtx-4090": (384, 21.0),
    "rtx-3090": (384, 19.5),
    "mi210": (4096, 3.2),
    "mi300x": (8192, 5.2),
    "jetson-orin-agx": (256, 6.4),
}

# Published bandwidth, GB/s.
DATA_SHEET_GBS = {
    "v100-pcie-16gb": 900,
    "v100-sxm-32gb": 900,
    "a100-sxm-80gb": 2039,
    "h100-sxm": 3350,
    "h100-pcie": 2039,
    "h100-nvl": 3938,
    "h20": 4000,
    "gh200": 4000,
    "h200-sxm": 4917,
    "b200-sxm": 7672,
    "b300-sxm": 7672,
    "gb200": 7928,
    "gb300": 7928,
    "a10": 600,
    "a30": 933,
    "a100-sxm-40gb": 1555,
    "a40": 696,
    "l4": 300,
    "l40": 864,
    "l40s": 864,
    "rtx-pro-6000": 1792,
    "rtx-5060-ti": 448,
    "rtx-5090": 1792,
    "rtx-4090": 1008,
    "rtx-3090": 936,
    "mi210": 1638,
    "mi300x": 5300,
    "jetson-orin-agx": 204.8,
}

# Best sustained DRAM read, GB/s: gpu-benches (gpu-stream, gpu-l2-cache, cuda-stream), BabelStream dot, QuickRunCUDA.
SUSTAINED_READ_GBS = {
    "v100-pcie-16gb": 866,
    "v100-sxm-32gb": 866,
    "a100-sxm-80gb": 1850,
    "h100-sxm": 3180,
    "h100-pcie": 1988,
    "h200-sxm": 4570,
    "b300-sxm": 7300,
    "l40": 845,
    "l40s": 845,
    "rtx-3090": 838,
    "mi210": 1366,
}

# L2 read plateau, GB/s (gpu-benches; L40 scaled to the L40S clock, V100 PCIe to the SXM clock).
L2_READ_GBS = {
    "v100-pcie-16gb": 2440,
    "v100-sxm-32gb": 2440 * 1530 / 1380,
    "a100-sxm-80gb": 5430,
    "h100-pcie": 6950,
    "l40": 5710,
    "l40s": 5710 * 2520 / 2490,
    "mi210": 4950,
}

# Pointer-chase DRAM plateau, ns (RRZE-HPC and te42kyfo gpu-latency, AI_kernels; MI300X by Chips and Cheese).
DRAM_LATENCY_NS = {
    "v100-pcie-16gb": 314,
    "v100-sxm-32gb": 300,
    "a100-sxm-80gb": 391,
    "h100-sxm": 353,
    "h100-pcie": 373,
    "b200-sxm": 437,
    "b300-sxm": 437,
    "l40": 251,
    "l40s": 251,
    "rtx-4090": 252,
    "rtx-3090": 268,
    "rtx-pro-6000": 330,
    "mi210": 395,
    "mi300x": 375,
}

# Dense BF16 TFLOPS of the data sheet; the clock held under memory-bound load may exceed the one it uses.
BF16_TFLOPS = {
    "a100-sxm-80gb": 312,
    "h100-sxm": 989,
    "h100-pcie": 756,
    "gh200": 989,
    "h200-sxm": 989,
    "b200-sxm": 2250,
    "b300-sxm": 2250,
    "gb200": 2500,
    "gb300": 2500,
    "a10": 125,
    "a30": 165,
    "a100-sxm-40gb": 312,
    "a40": 150,
    "l4": 121,
    "l40": 181,
    "l40s": 362,
    "rtx-4090": 165,
    "rtx-3090": 71,
    "rtx-pro-6000": 503,
    "mi210": 181,
    "mi300x": 1307,
    "h20": 148,
    "rtx-5090": 209.5,
}


def _leaves(tree: dict[str, object], path: str = "") -> Iterator[str]:
    for key, node in tree.items():
        if isinstance(node, dict):
            yield from _leaves(node, f"{path}{key}.")
        elif node is not None:
            yield f"{path}{key}"


def _files() -> list[Path]:
    root = config.data_dir("configs")
    return sorted(
        path for kind in ("hardware", "dram", "links", "hosts", "ssds") for path in (root / kind).glob("*.toml")
    )


def _fails(name: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(name, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_catalogue_is_what_the_documentation_lists():
    assert config.names("hardware", ".toml") == DEVICES
    assert config.names("dram", ".toml") == STANDARDS
    assert config.names("links", ".toml") == LINKS


@pytest.mark.parametrize("name", DEVICES)
def test_every_number_has_a_source(name):
    device = load(name)
    keys = set(_leaves(device.spec.model_dump(by_alias=True)))
    assert len(keys) > 40
    assert keys - WITHOUT_SOURCE == set(device.sources)
    for key, source in device.sources.items():
        assert source.strip() and ", " in source, f"{key}: {source!r} does not say where"


@pytest.mark.parametrize("path", _files(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_sources_cite_a_listed_reference_or_a_rule(path):
    tree = tomllib.loads(path.read_text(encoding="utf-8"))
    references = tree.pop("references")
    _, sources = config.split_sources(tree)
    cited = {source.partition(",")[0] for source in sources.values()}
    assert cited <= references.keys() | {"derived", "assumed"}
    assert references.keys() <= cited, "a listed reference is cited nowhere"


@pytest.mark.parametrize("standard", STANDARDS)
def test_a_preset_holds_exactly_the_timing_keys(standard):
    tree = config.read_toml(config.find("dram", standard, ".toml"))
    assert tree.keys() - {"references"} == TIMING_KEYS


@pytest.mark.parametrize("name", DEVICES)
def test_peak_bandwidth_is_that_of_the_pins_and_of_the_data_sheet(name):
    hbm = load(name).spec.hbm
    bits, rate = PINS[name]
    assert hbm.channel_count * hbm.channel_bits == bits
    assert hbm.peak_bytes_per_s == pytest.approx(bits * rate * 1e9 / 8, rel=1e-6)
    assert hbm.peak_bytes_per_s == pytest.approx(DATA_SHEET_GBS[name] * 1e9, rel=0.01)


@pytest.mark.parametrize("name", DEVICES)
def test_refresh_leaves_a_plausible_share_of_the_peak(name):
    hbm = load(name).spec.hbm
    assert 0.85 <= 1 - hbm.t_rfc_ps / hbm.t_refi_ps <= 0.99


@pytest.mark.parametrize("name", SUSTAINED_READ_GBS)
def test_refresh_leaves_what_microbenchmarks_read(name):
    hbm = load(name).spec.hbm
    achievable = hbm.peak_bytes_per_s * (1 - hbm.t_rfc_ps / hbm.t_refi_ps) / 1e9
    assert 1.0 <= achievable / SUSTAINED_READ_GBS[name] <= 1.05


@pytest.mark.parametrize("name", L2_READ_GBS)
def test_l2_bandwidth_is_the_measured_plateau(name):
    assert load(name).spec.l2.bandwidth_bytes_per_s == pytest.approx(L2_READ_GBS[name] * 1e9, rel=0.05)


@pytest.mark.parametrize("name", DRAM_LATENCY_NS)
def test_a_miss_takes_the_measured_dram_latency(name):
    """Half of the random hops cross to the other L2 partition, and each finds another row open."""
    l2, hbm = (spec := load(name).spec).l2, spec.hbm
    crossing = (l2.cross_latency_ps or 0) / 2
    missing = l2.hit_latency_ps + crossing + hbm.t_rp_ps + hbm.t_rcd_ps + hbm.latency_ps
    assert missing == pytest.approx(DRAM_LATENCY_NS[name] * 1000, rel=0.03)


@pytest.mark.parametrize("name", BF16_TFLOPS)
def test_tensor_peak_is_that_of_the_data_sheet(name):
    peak = load(name).spec.tensor_flops_per_s(Dtype.BF16) / 1e12
    assert 0.95 <= peak / BF16_TFLOPS[name] <= 1.10


@pytest.mark.parametrize("name", DEVICES)
def test_loads_in_flight_can_saturate_dram(name):
    spec = load(name).spec
    loaded_latency = 1.5 * (spec.l2.hit_latency_ps + spec.hbm.latency_ps) * 1e-12
    needed = 1.3 * spec.hbm.peak_bytes_per_s * loaded_latency / spec.sm.count
    assert needed <= spec.sm.outstanding_bytes <= spec.sm.shared_memory_bytes


@pytest.mark.parametrize("name", DEVICES)
def test_burst_and_row_geometry_agree(name):
    hbm, l2 = load(name).spec.hbm, load(name).spec.l2
    assert hbm.access_bytes * 8 % hbm.channel_bits == 0
    assert hbm.row_bytes % hbm.access_bytes == 0
    assert l2.sector_bytes % hbm.access_bytes == 0
    assert hbm.size_bytes > l2.size_bytes


@pytest.mark.parametrize("name", DEVICES)
def test_wider_types_are_never_faster(name):
    rate = load(name).spec.sm.tensor_flops_per_clock
    assert rate.fp32 <= rate.bf16 <= rate.fp16 <= rate.fp8


def test_v100_multiplies_bf16_at_the_vector_rate():
    sm = load("v100-sxm-32gb").spec.sm
    assert sm.tensor_flops_per_clock.bf16 == sm.vector_flops_per_clock
    assert sm.tensor_flops_per_clock.fp16 == 1024


def test_a_resolved_device_reads_back_as_itself(tmp_path):
    spec = load("h100-sxm").spec
    assert type(spec).model_validate(spec.model_dump(by_alias=True)) == spec


def test_a_device_key_wins_over_its_preset_and_a_path_works(tmp_path):
    shipped = config.find("hardware", "h100-pcie", ".toml")
    copy = tmp_path / "mine.toml"
    copy.write_text(shipped.read_text(encoding="utf-8"), encoding="utf-8")
    device = load(str(copy))
    assert device.spec.hbm.t_rfc_ps == 95_000
    assert "1988" in device.sources["hbm.t_rfc"]
    assert device.spec.hbm.t_ras_ps == 34_000
    assert device.spec == load("h100-pcie").spec


def test_no_file_names_the_machine_it_was_written_on():
    for path in _files():
        assert not re.search(r"/work|/tmp|/home|/root", path.read_text(encoding="utf-8")), path.name


@pytest.mark.parametrize("text", ['l2.size="100 MiB"', "l2.size=100 MiB", "l2.size = 100MiB"])
def test_an_override_carries_its_unit(text):
    device = load("h100-sxm", [text])
    assert device.spec.l2.size_bytes == 100 * 2**20
    assert device.sources["l2.size"] == "set on the command line"
    assert device.spec.hbm == load("h100-sxm").spec.hbm


def test_an_override_reaches_a_preset_key_and_a_nested_one():
    device = load("h100-sxm", ["hbm.t_ras=40 ns", "sm.tensor_flops_per_clock.fp8=4096"])
    assert device.spec.hbm.t_ras_ps == 40_000
    assert device.sources["hbm.t_ras"] == "set on the command line"
    assert device.spec.sm.tensor_flops_per_clock.fp8 == 4096


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("l2.sizes=1 MiB", ["h100-sxm.toml", "l2.sizes", "unknown key", "'size'"]),
        ("l3.size=1 MiB", ["h100-sxm.toml", "l3", "unknown key", "'l2'"]),
        ("l2.size=true", ["h100-sxm.toml", "l2.size", "with a unit", "MiB"]),
        ("l2.size=1.5", ["h100-sxm.toml", "l2.size", "with a unit", "MiB"]),
        ("l2.size=100 parsec", ["h100-sxm.toml", "l2.size", "parsec", "MiB"]),
        ("l2.size=1.7 GHz", ["h100-sxm.toml", "l2.size", "GHz"]),
        ("l2.size=-1 MiB", ["h100-sxm.toml", "l2.size", "greater than 0"]),
        ("l2.size=0 B", ["h100-sxm.toml", "l2.size", "greater than 0"]),
        ("sm.count=0", ["h100-sxm.toml", "sm.count", "greater than 0"]),
        ("sm.count=-3", ["h100-sxm.toml", "sm.count", "greater than 0"]),
        ("sm.count=many", ["h100-sxm.toml", "sm.count", "many"]),
        ("sm.clock=1.7 MiB", ["h100-sxm.toml", "sm.clock", "MHz"]),
        ("hbm.t_rfc=5 us", ["h100-sxm.toml", "hbm.t_rfc: must be shorter than t_refi"]),
        ("hbm.banks=0", ["h100-sxm.toml", "hbm.banks", "greater than 0"]),
        ("hbm.banks=12", ["h100-sxm.toml", "hbm.banks", "power of two"]),
        ("hbm.bank_groups=64", ["h100-sxm.toml", "hbm.bank_groups", "32 banks"]),
        ("hbm.row=16 B", ["h100-sxm.toml", "hbm.row", "access (32 B)"]),
        ("hbm.mapping=row:10 bank group column", ["h100-sxm.toml", "hbm.mapping", "do not cover", "row:14"]),
        ("hbm.mapping=row bank:2 group column", ["h100-sxm.toml", "hbm.mapping", "2 bank bits", "bank:3"]),
        ("hbm.mapping=row bank column", ["h100-sxm.toml", "hbm.mapping", "group must be there once"]),
        ("hbm.mapping=row bank:3x group column", ["h100-sxm.toml", "hbm.mapping", "bank:3x", "column:5"]),
        ("hbm.bank_hash=[0, 5, 7]", ["h100-sxm.toml", "hbm.bank_hash", "two shifts"]),
        ("hbm.n_ccd_l=1", ["h100-sxm.toml", "hbm.n_ccd_s: must be", "at most n_ccd_l"]),
        ("hbm.size=1 MiB", ["h100-sxm.toml", "hbm.size: must hold a row of each bank"]),
        ("hbm.interleave=64 B", ["h100-sxm.toml", "hbm.interleave: must hold a line", "128 B"]),
        ("sm.outstanding=64 B", ["h100-sxm.toml", "sm.outstanding: must hold a line", "128 B"]),
        ("l2.size=41 MB", ["h100-sxm.toml", "l2.size: must be a multiple", "such as 40996864 B"]),
        ("l2.size=1 kB", ["h100-sxm.toml", "l2.size: must be a multiple", "such as 4096 B"]),
        ("l2.slices=7", ["h100-sxm.toml", "l2.slices: must be a multiple of the 2 partitions"]),
        ("l2.slice_sites=3", ["h100-sxm.toml", "l2.slice_sites: must divide the", "given 3"]),
        ("l2.set_aside=1 MiB", ["h100-sxm.toml", "l2.set_aside: is kept in whole ways: at least 3276800 B"]),
        ("l1.size=100000 B", ["h100-sxm.toml", "l1.size: must be a multiple"]),
        ("hbm.refresh=never", ["h100-sxm.toml", "hbm.refresh", "per-bank"]),
        ("l2.ways=17", ["h100-sxm.toml", "l2.ways", "less than or equal to 16"]),
        ("l2.ways=7", ["h100-sxm.toml", "l2", "partitions x ways x line"]),
        ("l2.replacement=fifo", ["h100-sxm.toml", "l2.replacement", "lru"]),
        ("launch.graph=-1 us", ["h100-sxm.toml", "launch.graph", "greater than or equal to 0"]),
        ("link.kind=pcie9", ["h100-sxm.toml", "link.kind", "pcie5"]),
        ("link.lane=8", ["h100-sxm.toml", "link.lane", "unknown key", "'lanes'"]),
        ("link.queue_depth=0", ["h100-sxm.toml", "link.queue_depth", "greater than 0"]),
        ("host.bandwidth=1 GHz", ["h100-sxm.toml", "host.bandwidth", "GB/s"]),
        ("host.size=-1 GiB", ["h100-sxm.toml", "host.size", "greater than 0"]),
        ("ssd.latency=-1 us", ["h100-sxm.toml", "ssd.latency", "greater than or equal to 0"]),
        ("link.encoding_data=131", ["h100-sxm.toml", "link.encoding_data: must not exceed"]),
        ("link=none", ["h100-sxm.toml", "link"]),
        ("l2.size.x=1", ["l2.size.x", "is a value, not a table"]),
        ("l2.size", ["l2.size", "key.path=value"]),
    ],
)
def test_a_mistaken_override_names_file_key_and_remedy(override, words):
    message = _fails("h100-sxm", override)
    for word in words:
        assert word in message


def test_an_unknown_device_suggests_the_nearest():
    assert "did you mean 'h100-sxm'?" in _fails("h100-smx")
    assert "no such file" in _fails("./h100-sxm.toml.missing/x.toml")


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("[references]", "[refs]", "refs: unknown key"),
        ("[l2]", "[L2]", "L2: unknown key; did you mean 'l2'?"),
        ("standard =", "standart =", "hbm.standart: unknown key; did you mean 'standard'?"),
        (
            'source = "guide, 8.9" }',
            'sauce = "guide, 8.9" }',
            "sm.threads.sauce: unknown key; allowed beside value: source",
        ),
        ('guide = "', 'guide = 8 # "', "references.guide: write what the name stands for as text (given 8)"),
        ('name = "NVIDIA', 'references = 3 # "', "references: must be a table"),
    ],
)
def test_a_slip_in_a_file_of_ones_own_is_named(tmp_path: Path, before: str, after: str, words: str) -> None:
    path = tmp_path / "own.toml"
    text = (config.data_dir("configs") / "hardware" / "l40s.toml").read_text()
    if after.startswith("references"):
        text = text[: text.index("[references]")]
    path.write_text(text.replace(before, after, 1))
    assert _fails(str(path)).startswith(f"{path}: {words}")


# Payload rate of one direction, GB/s: below the signalling rate of data sheets, near what nvbandwidth and cudaMemcpy
# reach (V100 12.35, A10 25.2, A100 26.0, HGX Blackwell 55.6 into the device).
LINK_GBS = {"pcie3": (12.35, 15.75), "pcie4": (25.2, 31.5), "pcie5": (55.6, 63.0)}


@pytest.mark.parametrize("name", LINK_GBS)
def test_a_link_moves_what_is_measured_and_less_than_it_signals(name):
    link = load("h100-sxm", [f"link.kind={name}"]).spec.link
    measured, signalled = LINK_GBS[name]
    assert link.to_device_bytes_per_s == pytest.approx(measured * 1e9, rel=0.03)
    assert max(link.to_device_bytes_per_s, link.to_host_bytes_per_s) < signalled * 1e9


@pytest.mark.parametrize("name", LINKS)
def test_chunks_in_flight_cover_the_round_trip(name):
    spec = load("h100-sxm", [f"link.kind={name}"]).spec
    round_trip_ps = 2 * spec.link.latency_ps + spec.host.latency_ps
    in_flight = spec.link.chunk_bytes * spec.link.queue_depth
    assert in_flight > spec.link.to_device_bytes_per_s * round_trip_ps * 1e-12


def test_only_a_device_that_shares_its_memory_has_no_host():
    assert [name for name in DEVICES if load(name).spec.host is None] == ["jetson-orin-agx"]
    assert all((load(name).spec.link is None) == (load(name).spec.host is None) for name in DEVICES)


def test_an_override_chooses_a_preset():
    device = load("h100-sxm", ["link.kind=pcie3", "link.lanes=8"])
    assert device.spec.link.lane_rate_bits_per_s == 8 * 10**9
    assert device.spec.link.lanes == 8
    assert "3.0" in device.sources["link.lane_rate"]
    added = load("jetson-orin-agx", ["link.kind=cxl2", "host.kind=server-ddr5"])
    assert added.spec.host.size_bytes == 2 << 40


def test_an_unknown_standard_suggests_the_nearest(tmp_path):
    text = config.find("hardware", "h100-sxm", ".toml").read_text(encoding="utf-8")
    path = tmp_path / "odd.toml"
    path.write_text(text.replace('standard = "hbm3"', 'standard = "hbm33"'), encoding="utf-8")
    message = _fails(str(path))
    assert "odd.toml: hbm.standard" in message and "did you mean 'hbm3'?" in message


def test_link_host_and_ssd_come_together():
    assert "link and host are given together" in _fails("jetson-orin-agx", "link.kind=pcie4")
    assert "reached through the host" in _fails("jetson-orin-agx", "ssd.kind=nvme-gen4")


def test_a_missing_key_and_broken_toml_are_reported(tmp_path):
    text = config.find("hardware", "h100-sxm", ".toml").read_text(encoding="utf-8")
    path = tmp_path / "odd.toml"
    path.write_text(re.sub(r"(?m)^slices = .*\n", "", text), encoding="utf-8")
    assert re.search(r"odd\.toml: l2\.slices: missing", _fails(str(path)))
    path.write_text("name = \n", encoding="utf-8")
    assert "odd.toml: not valid TOML" in _fails(str(path))


@pytest.mark.parametrize(
    ("architecture", "capability"),
    [
        ("Ada Lovelace (sm_89)", 89),
        ("sm86", 86),
        ("NVIDIA Ampere (SM_87)", 87),
        ("Hopper", 90),
        ("Blackwell Ultra", 100),
        ("CDNA 3 (gfx942)", 0),
        ("", 0),
    ],
)
def test_kernels_are_chosen_by_the_number_or_else_the_name_of_the_architecture(
    architecture: str, capability: int
) -> None:
    spec = load("l40s").spec.model_copy(update={"architecture": architecture})
    assert spec.compute_capability == capability
