# SPDX-License-Identifier: Apache-2.0
"""The page of a trace: whole without a network, and honest about what is missing."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from attached import BOUNDS, S, around, rows, taken
from simulate import START_NS, sampled

from pyenergy import Trace, _core
from pyenergy import trace as trace_now
from pyenergy.errors import RecordingError, StateError
from pyenergy.recording.marks import Mark
from pyenergy.recording.series import Runs
from pyenergy.report.html import render_html, write_html
from pyenergy.report.html_parts import safe
from pyenergy.report.html_power import envelope, phases
from pyenergy.report.html_treemap import Tile, squarify, treemap
from pyenergy.report.perfetto import write_perfetto
from pyenergy.sensor.terms import TERMS
from pyenergy.testing import SimulatedWorld, simulated

VOID = {"meta", "input", "br", "link", "img", "hr"}


class Page(HTMLParser):
    """What is on a page; wrong where tags do not close in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[str] = []
        self.ids: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.cells: dict[str, list[list[str]]] = {}
        self._table = ""
        self.feed(text)
        self.close()
        assert self.stack == []
        assert len(set(self.ids)) == len(self.ids)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        if found.get("id"):
            self.ids.append(str(found["id"]))
        if tag not in VOID:
            self.stack.append(tag)
        if tag == "table":
            self._table = str(found["id"])
            self.cells[self._table] = []
        if tag == "tr":
            self.cells[self._table].append([])
        if tag in ("td", "th"):
            self.cells[self._table][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack, f"</{tag}> closes nothing"
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.stack or "script" in self.stack:
            return
        self.words.append(data)
        if self.stack and {"td", "th"} & set(self.stack):
            self.cells[self._table][-1][-1] += data if "small" not in self.stack else f" [{data}]"

    @property
    def text(self) -> str:
        return " ".join("".join(f"{word} " for word in self.words).split())

    def names(self, table: str) -> list[str]:
        return [row[0] for row in self.cells[table][1:]]


def shown(trace: Trace) -> Page:
    text = render_html(trace)
    page = Page(text)
    assert not re.search(r"(?i)\b(?:https?:)?//[a-z]|url\(|@import|javascript:", text)
    for tag, attributes in page.tags:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form")
        assert {"src", "href", "xlink:href", "action", "srcset"}.isdisjoint(attributes)
        assert not [name for name in attributes if name.startswith("on")]
    assert "default-src 'none'" in text
    for tag, attributes in page.tags:  # no coordinate is lost
        for value in attributes.values() if tag in ("path", "rect", "text") else ():
            assert "nan" not in str(value)
            assert "inf" not in str(value)
    return page


def without(trace: Trace, device: str) -> Trace:
    lost = trace.recorded.devices[device]
    nothing = {
        name: Runs(**{column: getattr(runs, column)[:0] for column in Runs.names()})
        for name, runs in lost.runs.items()
    }
    devices = {**trace.recorded.devices, device: replace(lost, runs=nothing)}
    return Trace(replace(trace.recorded, devices=devices))


# Traces of each kind ------------------------------------------------------------------------


def test_the_headline_has_its_interval_and_the_budget_its_terms() -> None:
    trace = taken()
    page = shown(trace)
    assert str(trace.energy) in page.text
    assert f"95 % interval {trace.energy.format_interval(0.95)}" in page.text
    terms = {term: u for term, u in trace.energy.budget().items() if u}
    assert page.names("budget-0") == [f"{term} [{TERMS[term]}]" for term in terms]
    assert "No operations are attached" in page.text
    assert "phases" not in page.cells
    assert all(note in page.text for note in trace.energy.notes)
    assert "reads" in page.cells["channels-0"][0]


def test_layers_kernels_and_gaps_with_their_intervals() -> None:
    trace = taken(spans=[("outer", 2 * S, 6 * S), ("inner", 3 * S, 4 * S)])
    trace.attach(rows(layer=["h.0.mlp", "h.0.attn", None]))
    page = shown(trace)
    assert sorted(page.names("by-layer")) == [
        "(nothing ran)", "(unattributed)", "h.0.attn", "h.0.mlp",
    ]  # fmt: skip
    assert page.names("by-name")[-1] == "(nothing ran)"
    assert page.names("by-layer_type")[-1] == "(nothing ran)"
    assert page.names("by-module")[:3] == ["(model)", "h", "0"]
    assert sorted(page.names("phases")) == ["inner", "outer"]
    row = trace.spans().row(by_predicate=pl.col("name") == "inner", named=True)
    window = trace.window(row["start_ns"], row["end_ns"])
    (inner,) = [cells for cells in page.cells["phases"] if cells[0] == "inner"]
    assert f"{window} [{window.format_interval(0.95)}]" in inner
    tiles = [a for tag, a in page.tags if tag == "rect" and "tile" in str(a.get("class"))]
    assert len(tiles) == 2 * 4  # for wide and narrow screens


@pytest.mark.parametrize("name", ["h100_bert_small", "a100_four_streams_overlap", "cpu_only"])
def test_real_profiles(shared_data: Path, name: str) -> None:
    trace = around(shared_data / "kineto" / f"{name}.json.gz")
    page = shown(trace)
    kernels = trace.kernels()
    assert len(page.names("by-name")) == len(kernels)
    assert set(page.names("by-name")) == set(kernels["name"])
    assert all(note in page.text for note in trace.notes)
    assert "the powers of operations are not told apart" in page.text


def test_gaps_beside_which_nothing_is_seen_are_said_and_shares_stay_of_the_whole() -> None:
    trace = taken()
    trace.attach({"name": ["a", "b"], "start_ns": [2 * S, 3 * S], "end_ns": [3 * S, 4 * S]})
    kernels = {row["name"]: row for row in trace.kernels().to_dicts()}
    page = shown(trace)
    assert f"{kernels['(nothing ran)']['share']:.1%} of the whole." in page.text
    tiles = [a for tag, a in page.tags if tag == "rect" and "tile" in str(a.get("class"))]
    assert len(tiles) == 2 * 2
    map_, _, _ = page.text.partition("Each energy has")
    assert all(f"{kernels[name]['share']:.1%}" in map_ for name in "ab")


def test_several_devices_and_one_that_was_not_read() -> None:
    trace = taken(("gpu:0", "gpu:1", "gpu:2"), spans=[("work", 2 * S, 3 * S)])
    trace.attach(rows(device=[0, 1, 0], layer=["a", "b", "a"]))
    page = shown(trace)
    assert str(trace.energy) in page.text
    assert all(str(energy) in page.text for energy in trace.energies.values())
    assert {row[1] for row in page.cells["by-name"][1:]} == {"gpu:0", "gpu:1"}
    lost = without(trace, "gpu:1")
    page = shown(lost)
    assert "no total" in page.text
    assert lost.unreadable["gpu:1"] in page.text
    assert "what ran on gpu:1, which was not read" in page.text
    assert {row[1] for row in page.cells["by-name"][1:]} == {"gpu:0"}
    assert str(lost.energies["gpu:2"]) in page.text
    assert "phases" not in page.cells  # energies of a sum without a device
    assert "Energies of phases are not given: they would be without gpu:1" in page.text
    nothing = without(without(lost, "gpu:0"), "gpu:2")
    assert "None of the devices that operations ran on was read" in shown(nothing).text


def test_an_estimate_says_so_first() -> None:
    trace = taken()
    device = trace.recorded.devices["gpu:0"]
    meta = replace(device.meta, source="estimate")
    recorded = replace(trace.recorded, devices={"gpu:0": replace(device, meta=meta)})
    page = shown(Trace(recorded))
    assert page.text.index("ESTIMATE, not a measurement") < page.text.index(str(trace.energy), 60)
    assert "ESTIMATE" not in shown(trace).text


def test_only_an_energy_counter() -> None:
    t = np.arange(0, 10 * S, 20_000_000)
    readings: Any = {"gpu:0/energy": (t, 1000 + 250.0 * (t / S))}
    trace = Trace.from_readings(readings, bounds_ns=BOUNDS)
    page = shown(trace)
    assert str(trace.energy) in page.text
    assert [a for tag, a in page.tags if tag == "path" and a.get("class") == "model"]
    assert not [a for tag, a in page.tags if tag == "path" and a.get("class") == "band"]


def test_names_are_text_whatever_is_in_them() -> None:
    evil = '<script>alert("x")</script>&amp;'
    recorded = taken(spans=[(evil, 2 * S, 3 * S)]).recorded
    device = recorded.devices["gpu:0"]
    device = replace(device, meta=replace(device.meta, name="<img src=x onerror=y>"))
    trace = Trace(replace(recorded, devices={"gpu:0": device}))
    trace.attach(rows(name=[evil, "\x07'", "softmax"], layer=[f"h.{evil}", "h.'b'", None]))
    trace.annotate(generation={evil: "<b>"}, other=["</main>"])
    page = shown(trace)
    assert evil in page.names("by-name")
    assert evil in page.names("phases")
    assert "\\x07'" in page.names("by-name")
    assert "<img src=x onerror=y>" in page.text
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert safe('\udc80\n\x00"') == "\\udc80\n\\x00&quot;"


def test_a_simulated_card(tmp_path: Path) -> None:
    with simulated("h100") as world:
        world[0].script([(0, 120.0), (START_NS + S, 520.0), (START_NS + 3 * S, 150.0)])
        world[0].inject("gpu_lost", from_ns=START_NS + 4 * S)
        recorded = sampled(0, seconds=5).recorded
    trace = Trace(replace(recorded, marks=(Mark("decode", START_NS + S, START_NS + 3 * S),)))
    page = Page(write_html(trace, tmp_path / "run.html").read_text())
    assert str(trace.energy) in page.text
    assert "temperature" in page.names("channels-0")
    blind = [a for tag, a in page.tags if tag == "rect" and a.get("class") == "blind"]
    assert len(blind) == 2  # what was not read is shaded, on wide and on narrow screens
    assert float(str(blind[0]["width"])) == pytest.approx(1026 / 5, rel=0.05)
    assert [path.name for path in tmp_path.iterdir()] == ["run.html"]
    trace.report(tmp_path / "run.html")
    with pytest.raises(RecordingError, match="cannot write"):
        trace.report(tmp_path / "absent" / "run.html")


def test_a_trace_that_is_still_open_is_shown_as_of_one_moment(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    world[0].set_power(200.0)
    with trace_now(devices="sim") as trace:
        time.sleep(0.2)
        page = Page(trace.report(tmp_path / "now.html").read_text())
        events = json.loads(write_perfetto(trace, tmp_path / "now.json").read_text())
    title = page.text.partition(" · ")[0]
    assert page.text.count(title) > 2
    assert [e for e in events["traceEvents"] if e["ph"] == "C"]


def test_tokens_where_the_trace_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(self: Trace) -> pl.DataFrame:
        return pl.DataFrame({"phase": ["decode"], "token": [7], "energy_j": [1.5], "u_j": [0.25]})

    def none(self: Trace) -> pl.DataFrame:
        raise StateError("nothing was generated")

    monkeypatch.setattr(Trace, "tokens", found, raising=False)
    page = shown(taken())
    assert page.cells["tokens"][1] == ["decode", "7", "1.50 ± 0.25 J [1.01 … 1.99 J]"]
    monkeypatch.setattr(Trace, "tokens", none, raising=False)
    assert "tokens" not in shown(taken()).cells


def test_many_rows_are_said_to_be_more() -> None:
    trace = taken(spans=[(f"s{i}", 2 * S + i, 3 * S + i) for i in range(2100)])
    page = shown(trace)
    assert len(page.names("phases")) == 2000
    assert "100 rows more: trace.spans() has them" in page.text


# Pictures -----------------------------------------------------------------------------------


def test_a_spike_of_one_reading_stays_as_high_as_it_was() -> None:
    t = np.arange(0, 10 * S, 100_000)
    watts = np.full(len(t), 100.0)
    watts[54_321], watts[54_400] = 700.0, 3.0
    trace = Trace.from_readings({"gpu:0/power": (t, watts)})
    device = trace.recorded.devices["gpu:0"]
    edges = np.linspace(0, t[-1], 1001).astype(np.int64)
    low, high = envelope(device.runs["power"], edges, device.gap_ns)
    assert (high.max(), low.min()) == (700.0, 3.0)
    assert edges[np.argmax(high)] <= t[54_321] <= edges[np.argmax(high) + 1]
    assert (high > 100).sum() <= 2
    assert np.isfinite(low).all()


def test_what_was_not_read_is_a_gap_in_the_envelope() -> None:
    trace = taken()
    device = trace.recorded.devices["gpu:0"]
    runs = device.runs["power"]
    bad = (runs.t_first_ns > 4 * S) & (runs.t_first_ns < 5 * S)
    flags = np.where(bad, runs.flags | np.uint32(_core.FLAG_MISSING), runs.flags)
    edges = np.arange(BOUNDS[0], BOUNDS[1] + 1, S // 10)
    low, _ = envelope(replace(runs, flags=flags), edges, device.gap_ns)
    assert np.flatnonzero(np.isnan(low)).tolist() == list(range(31, 40))  # one at 4 s was read
    none = envelope(replace(runs, flags=runs.flags | np.uint32(_core.FLAG_MISSING)), edges, 1)
    assert np.isnan(none).all()


def test_strips_join_neighbours_that_no_pixel_parts() -> None:
    marks = [Mark("token", i * 1000, i * 1000 + 900, 1) for i in range(1000)]
    text, levels = phases([Mark("all", 0, 10**6), *marks], 0, 10**6, 300)
    assert levels == 2
    assert text.count("<rect") == 2
    assert "token, 1,000 times" in text


def test_areas_of_the_map_are_the_energies() -> None:
    sizes = sorted(np.random.default_rng(2).exponential(1.0, 40).tolist(), reverse=True)
    boxes = squarify(sizes, (0.0, 0.0, 300.0, 200.0))
    areas = np.array([w * h for _, _, w, h in boxes])
    assert areas == pytest.approx(np.array(sizes) / sum(sizes) * 60_000)
    assert all(x >= 0 and y >= 0 and x + w <= 300.001 and y + h <= 200.001 for x, y, w, h in boxes)
    corners = {(round(x, 6), round(y, 6)) for x, y, _, _ in boxes}
    assert len(corners) == len(boxes)
    assert squarify([], (0.0, 0.0, 1.0, 1.0)) == []


def test_what_has_no_area_is_said() -> None:
    tiles = [Tile("a", "k", 3.0, "3 J"), Tile("b", "k", -0.5, "-0.5 J"), Tile("c", "", 0.0, "0 J")]
    text = treemap(tiles)
    assert text.count("<rect") == 2
    assert "2 more have no area" in text
    assert "together -0.5 J" in text
    assert treemap(tiles[1:]) == ""
    many = treemap([Tile(str(i), "k", 1.0, "1 J") for i in range(500)])
    assert many.count("<rect") == 2 * 61
    assert "440 others" in many
