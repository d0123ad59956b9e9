"""Do placement rules say where tensors rest, refuse what cannot be, and name the copies each layer needs?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simulator import hardware, models
from simulator.config import build
from simulator.errors import CapacityError, ConfigError
from simulator.hardware import Dtype
from simulator.workload import Phase, Placement, Tier, Unit, Workload, check_capacity, tensors, units
from simulator.workload.placement import parse_rule, resolve
from simulator.workload.residency import AFTER, BEFORE, staging_bytes

GPT2 = models.load("gpt2")
LLAMA = models.load("llama-3.1-8b")
LAYER_BYTES = 2 * (LLAMA.linear_parameters + 2 * LLAMA.hidden)


def placed(**rules: Any) -> Workload:
    return Workload(phase=Phase.DECODE, context=1000, page_tokens=16, placement=Placement(**rules))


def refused(**rules: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        resolve(Placement(**rules), LLAMA.layers, LLAMA.name)
    return str(caught.value)


def moved(found: list[Unit], kind: str) -> dict[int, int]:
    """Return the bytes of one kind of copy by place, without the places that have none."""
    sizes = {unit.place: sum(movement.bytes for movement in getattr(unit, kind)) for unit in found}
    return {place: size for place, size in sizes.items() if size}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("dram", "dram"),
        (" ssd : layers [ 3 : 7 ] ", "ssd:layers[3:7]"),
        ("hbm:layers[:7]", "hbm:layers[:7]"),
        ("dram:layers[16:]", "dram:layers[16:]"),
        ("dram:layers[:]", "dram"),
    ],
)
def test_rules_are_read_and_shown(text: str, shown: str) -> None:
    assert str(parse_rule(text)) == shown
    assert parse_rule(shown) == parse_rule(text)


@pytest.mark.parametrize("text", ["", "dram:", "dram:layers", "dram:layers[1]", "dram:layers[-1:3]", "dram:heads[1:2]"])
def test_a_rule_that_cannot_be_read_shows_how_to_write_it(text: str) -> None:
    with pytest.raises(ValueError, match=r"dram:layers\[16:32\]"):
        parse_rule(text)


def test_tiers_and_empty_ranges_are_checked() -> None:
    with pytest.raises(ValueError, match="did you mean 'dram'"):
        parse_rule("drma:layers[0:1]")
    with pytest.raises(ValueError, match="names no layer"):
        parse_rule("dram:layers[5:5]")


def test_layers_go_where_their_rule_says_and_the_rest_to_device_memory() -> None:
    residency = resolve(Placement(weights=("dram:layers[2:4]", "ssd:layers[30:]"), kv="dram"), 32, "m")
    assert [layer for layer in range(32) if residency.tier("weights", layer) is Tier.DRAM] == [2, 3]
    assert [layer for layer in range(32) if residency.tier("weights", layer) is Tier.SSD] == [30, 31]
    assert {residency.tier("kv", layer) for layer in range(32)} == {Tier.DRAM}
    assert residency.embeddings is Tier.HBM
    assert residency.tiers == {Tier.HBM, Tier.DRAM, Tier.SSD}


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"weights": "dram:layers[16:40]"}, ["workload.placement.weights", "has 32 layers", "[0:32]"]),
        ({"kv": "dram:layers[32:]"}, ["workload.placement.kv", "has 32 layers"]),
        (
            {"weights": ("dram:layers[0:9]", "ssd:layers[8:10]")},
            ["workload.placement.weights", "layer 8", "twice", "dram", "ssd"],
        ),
        ({"weights": ("dram", "hbm:layers[3:4]")}, ["workload.placement.weights", "layer 3", "dram", "hbm"]),
        ({"activations": ("dram", "dram")}, ["workload.placement.activations", "layer 0", "twice"]),
        ({"embeddings": ("dram", "ssd")}, ["workload.placement.embeddings", "dram", "ssd"]),
        ({"embeddings": "dram:layers[0:1]"}, ["workload.placement.embeddings", "outside the layers"]),
    ],
)
def test_what_cannot_be_is_refused_with_its_key(rules: dict[str, Any], words: list[str]) -> None:
    message = refused(**rules)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_placement_reads_back_as_itself() -> None:
    workload = placed(weights=["dram:layers[0:3]", "ssd:layers[3:]"], host_memory="pageable", prefetch_layers=3)
    assert build(Workload, workload.model_dump(mode="json", by_alias=True), "here") == workload


def test_the_copies_of_a_decode_pass() -> None:
    workload = placed(weights="dram:layers[30:32]", kv="ssd:layers[0:1]", embeddings="dram")
    found = units(LLAMA, workload, 1, 1000)
    row = LLAMA.hidden * 2
    token = LLAMA.kv_bytes_per_token(Dtype.BF16) // LLAMA.layers
    head = LLAMA.embedding_parameters * 2 + row  # with the final norm
    assert moved(found, "fetch") == {0: 999 * token, 30: LAYER_BYTES, 31: LAYER_BYTES, AFTER: head}
    assert moved(found, "late") == {BEFORE: row}
    assert moved(found, "store") == {0: token}
    page = workload.page_tokens * token // 2  # type: ignore[operator]
    assert {movement.run_bytes for movement in found[1].fetch} == {page}


def test_a_prefill_stores_its_entries_and_fetches_none() -> None:
    workload = Workload(phase=Phase.PREFILL, prompt=300, batch=2, placement=Placement(kv="dram:layers[5:7]"))
    found = units(LLAMA, workload, 300, 300)
    token = LLAMA.kv_bytes_per_token(Dtype.BF16) // LLAMA.layers
    assert moved(found, "fetch") == {}
    assert moved(found, "store") == {5: 600 * token, 6: 600 * token}


def test_activations_rest_between_the_layers() -> None:
    workload = Workload(phase=Phase.PREFILL, prompt=64, placement=Placement(activations="dram:layers[4:6]"))
    found = units(LLAMA, workload, 64, 64)
    stream = 2 * 64 * LLAMA.hidden * 2  # the residual stream and what the last block adds to it
    assert moved(found, "store") == {3: stream, 4: stream}
    assert moved(found, "late") == {4: stream, 5: stream}


def test_staging_holds_as_many_layers_as_run_ahead() -> None:
    for ahead in (0, 1, 3):
        assert staging_bytes(LLAMA, placed(weights="dram", prefetch_layers=ahead)) == (ahead + 1) * LAYER_BYTES
    assert staging_bytes(LLAMA, placed(weights="dram:layers[3:4]")) == LAYER_BYTES
    assert staging_bytes(LLAMA, placed(weights="hbm")) == 0


def test_capacity_counts_what_stays_and_the_staging_area() -> None:
    workload = placed(weights="dram:layers[16:32]")
    whole = sum(tensor.bytes for tensor in tensors(LLAMA, workload).values())
    needed = whole - 16 * LAYER_BYTES + 2 * LAYER_BYTES
    check_capacity(LLAMA, workload, hardware.load("h100-sxm", [f"hbm.size={needed} B"]).spec)
    with pytest.raises(CapacityError, match="staging of placed layers 832 MiB"):
        check_capacity(LLAMA, workload, hardware.load("h100-sxm", [f"hbm.size={needed - 1} B"]).spec)


@pytest.mark.parametrize(
    ("name", "overrides", "rules", "words"),
    [
        ("jetson-orin-agx", (), {"weights": "dram"}, ["workload.placement", "no dram tier", "host.kind"]),
        ("jetson-orin-agx", (), {"kv": "ssd"}, ["workload.placement", "no ssd tier"]),
        ("h100-sxm", ("host.size=1 GiB",), {"weights": "dram"}, ["workload.placement", "dram", "1 GiB", "host.size"]),
        ("h100-sxm", ("ssd.size=1 GiB",), {"weights": "ssd"}, ["workload.placement", "ssd", "1 GiB", "ssd.size"]),
    ],
)
def test_a_tier_that_is_missing_or_too_small_is_refused(
    name: str, overrides: tuple[str, ...], rules: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises((ConfigError, CapacityError)) as caught:
        check_capacity(LLAMA, placed(**rules), hardware.load(name, overrides).spec)
    for word in words:
        assert word in str(caught.value)


def test_what_does_not_fit_is_told_the_shortest_placement_that_does() -> None:
    device = hardware.load("h100-sxm", ["hbm.size=12 GiB"]).spec
    workload = Workload(phase=Phase.DECODE, context=1000)
    with pytest.raises(CapacityError) as caught:
        check_capacity(LLAMA, workload, device)
    rule = str(caught.value).rpartition("--placement weights=")[2]
    first = parse_rule(rule).first
    assert first is not None
    check_capacity(LLAMA, placed(weights=rule), device)
    with pytest.raises(CapacityError):
        check_capacity(LLAMA, placed(weights=f"dram:layers[{first + 1}:32]"), device)


def test_the_tied_head_is_fetched_with_the_embeddings(tmp_path: Path) -> None:
    found = units(GPT2, placed(embeddings="ssd"), 1, 1000)
    tables = (GPT2.embedding_parameters + 2 * GPT2.hidden) * 2
    assert moved(found, "fetch") == {BEFORE: 2 * GPT2.hidden, AFTER: tables}
    assert moved(found, "late") == {BEFORE: 2 * GPT2.hidden}
