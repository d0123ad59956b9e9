"""Does a timeline keep the rules of the trace-event format, show what ran, and change nothing?

The rules checked are those of Google's "Trace Event Format" document, which has no schema of its own:
`trace_event.schema.json` is one written from it, against which the jsonschema library holds timelines.  What a schema
cannot say is checked beside it: complete events (X) of one thread stand apart, threads have names, and of the phases
only three are written.

No parser of others opens them here: `perfetto` drives a program that it loads from the network, `chrometrace` and
`viztracer` only write, and HolisticTraceAnalysis brings JupyterLab with it.
"""

from __future__ import annotations

import itertools
import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import small
from jsonschema import Draft202012Validator

from simulator.core import counter
from simulator.hardware import Hardware
from simulator.models import Architecture
from simulator.run import timeline
from simulator.run.generate import generate
from simulator.run.simulate import Outcome, simulate
from simulator.system import Samples
from simulator.system import sampling as sampled
from simulator.workload import Phase, Placement, Workload
from simulator.workload.protocol import Protocol

Event = dict[str, Any]
METADATA = {"process_name": "name", "thread_name": "name"}
SCHEMA = Draft202012Validator(json.loads(Path(__file__).with_name("trace_event.schema.json").read_text()))
ROUNDING = 1e-6  # us: a picosecond
DEVICE = small.device(*small.SMALL_DEVICE)


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def check(text: str) -> list[Event]:
    """Return the events of a timeline that keeps the rules."""
    tree = json.loads(text)
    SCHEMA.validate(tree)
    assert tree["displayTimeUnit"] in ("ms", "ns")
    events: list[Event] = tree["traceEvents"]
    threads: dict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
    named = set()
    for event in events:
        assert {"name", "ph", "pid", "tid"} <= set(event) and isinstance(event["name"], str)
        assert isinstance(event["pid"], int) and isinstance(event["tid"], int)
        match event["ph"]:
            case "M":
                assert isinstance(event["args"][METADATA[event["name"]]], str)
                named.add((event["pid"], event["tid"]))
            case "X":
                assert is_number(event["ts"]) and is_number(event["dur"])
                assert event["ts"] >= 0 and event["dur"] >= 0 and isinstance(event["cat"], str)
                threads[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
            case "C":
                assert is_number(event["ts"]) and event["ts"] >= 0
                assert event["args"] and all(is_number(value) and value >= 0 for value in event["args"].values())
            case other:
                pytest.fail(f"phase {other} is not written")
    assert set(threads) <= named
    for slices in threads.values():
        for before, after in itertools.pairwise(sorted(slices)):
            assert after[0] >= before[1] - ROUNDING
    return events


def of(events: list[Event], phase: str, category: str | None = None) -> list[Event]:
    return [event for event in events if event["ph"] == phase and category in (None, event.get("cat"))]


def run(model: Architecture, workload: Workload, device: Hardware = DEVICE, **more: Any) -> Outcome:
    return simulate(generate(model, workload, Protocol(), device), device, Protocol(), **more)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Architecture:
    return small.load_models(tmp_path_factory.mktemp("models"))["llama"]


def test_every_kernel_wave_and_counter_is_there(llama: Architecture) -> None:
    outcome = run(llama, Workload(phase=Phase.PREFILL, prompt=200), exact=True, samples=Samples())
    events = check(timeline.to_json(outcome, "a title"))
    kernels = [event for event in of(events, "X") if event["cat"] not in ("launch", "wave")]
    assert [event["name"] for event in kernels] == [kernel.header.name for kernel in outcome.kernels]
    assert sum(event["dur"] for event in kernels) == pytest.approx(sum(k.time_ps for k in outcome.kernels) / 1e6)
    assert len(of(events, "X", "launch")) == len(kernels)
    for kernel in outcome.kernels:
        assert kernel.start_ps == kernel.waves[0][0]
        assert max(end for _, end in kernel.waves) == kernel.start_ps + kernel.time_ps
        assert all(begin <= end for begin, end in kernel.waves)
    assert any(len(kernel.waves) > 1 for kernel in outcome.kernels)
    assert {event["name"].split(" (")[0] for event in of(events, "C")} == {
        "DRAM bandwidth",
        "L2 bandwidth",
        "L2 read hits",
        "bytes in flight",
    }


def test_the_counters_add_up_to_what_was_moved(llama: Architecture) -> None:
    outcome = run(llama, Workload(phase=Phase.PREFILL, prompt=200), exact=True, samples=Samples())
    counted = of(check(timeline.to_json(outcome, "")), "C")
    reads = [(event["ts"], event["args"]["read"]) for event in counted if event["name"].startswith("L2 bandwidth")]
    moved = sum(rate * 1e3 * (end - begin) for (begin, rate), (end, _) in itertools.pairwise(reads))
    last = outcome.samples[1][-1] - outcome.samples[1][0] if outcome.samples else 0
    assert moved == pytest.approx(float(last[counter.L2_READ_BYTES]), rel=1e-6)
    assert moved > 0.5 * outcome.step_counters[:, counter.L2_READ_BYTES].sum()


@pytest.mark.parametrize("placement", [None, Placement(weights=("dram",))])
def test_sampling_changes_nothing(
    llama: Architecture, placement: Placement | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    workload = Workload(phase=Phase.GENERATE, prompt=60, tokens=3, page_tokens=16, placement=placement)
    monkeypatch.setattr(sampled, "FIRST_INTERVAL_PS", 50_000)
    plain, watched = run(llama, workload), run(llama, workload, samples=Samples())
    assert plain.step_ps.tolist() == watched.step_ps.tolist()
    assert plain.step_counters.tolist() == watched.step_counters.tolist()
    copies = of(check(timeline.to_json(watched, "")), "X", "copy")
    assert bool(copies) == (placement is not None)
    assert sum(event["args"]["bytes"] for event in copies) == (
        0 if watched.copies is None else int(watched.copies.moved_bytes.sum())
    )


def test_samples_are_bounded(llama: Architecture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampled, "FIRST_INTERVAL_PS", 10_000)
    monkeypatch.setattr(sampled, "MOST_SAMPLES", 16)
    samples = Samples()
    run(llama, Workload(phase=Phase.DECODE, context=100), samples=samples)
    assert 4 <= len(samples.times) < 16
    assert samples.times == sorted(set(samples.times))


@pytest.mark.parametrize(("most", "words"), [(30, "step 0, layer"), (3, "step 0")])
def test_many_kernels_are_shown_by_layer_or_step(
    llama: Architecture, monkeypatch: pytest.MonkeyPatch, most: int, words: str
) -> None:
    outcome = run(llama, Workload(phase=Phase.GENERATE, prompt=20, tokens=3), exact=True)
    monkeypatch.setattr(timeline, "MOST_SLICES", most)
    slices = of(check(timeline.to_json(outcome, "")), "X")
    assert len(slices) <= most
    assert sum(event["args"]["kernels"] for event in slices) == len(outcome.kernels)
    assert slices[0]["name"].startswith(words) or slices[1]["name"].startswith(words)


def test_it_is_written_as_a_file_of_its_own(llama: Architecture, tmp_path: Path) -> None:
    """Names come from users' files and may be anything."""
    outcome = run(llama, Workload(phase=Phase.DECODE, context=20))
    text = timeline.to_json(outcome, '</script>"\\\n\x1b')
    assert text.isascii()
    assert check(text)[0]["args"]["name"] == '</script>"\\\n\x1b'


@pytest.mark.parametrize(
    "event",
    [
        {"ph": "X", "ts": 0, "pid": 1, "tid": 1, "name": "no duration"},
        {"ph": "X", "ts": -1, "dur": 1, "pid": 1, "tid": 1, "name": "before the start"},
        {"ph": "C", "ts": 0, "pid": 1, "tid": 0, "name": "no number", "args": {"read": "1"}},
        {"ph": "C", "ts": 0, "pid": 1, "tid": 0, "name": "no series", "args": {}},
        {"ph": "M", "pid": 1, "tid": 1, "name": "thread_name", "args": {}},
        {"ph": "Q", "ts": 0, "pid": 1, "tid": 1, "name": "no such phase"},
        {"ph": "X", "ts": 0, "dur": 1, "tid": 1, "name": "no process"},
    ],
    ids=lambda event: event["name"],
)
def test_the_schema_refuses_what_the_format_does_not_allow(event: Event) -> None:
    Draft202012Validator.check_schema(SCHEMA.schema)
    assert not SCHEMA.is_valid({"traceEvents": [event]})
    assert SCHEMA.is_valid({"traceEvents": []})
