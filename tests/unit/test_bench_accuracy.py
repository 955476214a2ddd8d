# SPDX-License-Identifier: Apache-2.0
"""Plans and scores of the bench of accuracy; the tools themselves are not run."""

from __future__ import annotations

import importlib.util
import math
import sys
from itertools import pairwise
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `bench` is not installed
from bench.peers import PEERS, chosen, report, scenarios, score, venvs, worlds
from bench.peers.score import Coverage, Record

NAMES = list(scenarios.BUILDERS)


def record(joules: list[float], u_j: list[float] | None = None, **more: object) -> Record:
    """Windows of 1 s that truly took 100 J each."""
    n = len(joules)
    values = {"tool": "pyenergy", "scenario": "s", "config": "a100, gain right, counter of truth"}
    return Record(**{**values, **more}, length_s=[1.0] * n, truth_j=[100.0] * n,
                  joules=joules, u_j=u_j or [])  # type: ignore[arg-type]  # fmt: skip


# Scores --------------------------------------------------------------------------------------


def test_errors_are_signed_and_of_the_truth() -> None:
    r = record([90.0, 120.0])
    assert list(score.errors_percent(r)) == pytest.approx([-10.0, 20.0])
    assert score.sum_error_percent(r) == pytest.approx(5.0)
    assert score.median_error_percent(r) == pytest.approx(15.0)


def test_no_answer_is_left_out_of_errors_and_counted() -> None:
    r = record([math.nan, 120.0])
    assert score.sum_error_percent(r) == pytest.approx(20.0)
    assert score.median_error_percent(r) == pytest.approx(20.0)
    assert score.silent(r) == 1
    assert report.error_cell(r) == "+20.0 | 20.0 (1 unanswered)"


def test_never_an_answer() -> None:
    r = record([math.nan])
    assert math.isnan(score.sum_error_percent(r))
    assert report.error_cell(r) == "no answer"


def test_coverage_counts_intervals_that_hold_the_truth() -> None:
    r = record([100.0, 109.0, 111.0, math.nan], [5.0, 5.0, 5.0, 5.0])
    assert score.coverage(r) == Coverage(2, 3)
    assert score.coverage(r, same_card=True) == Coverage(0, 0)
    assert score.coverage(record([100.0])) == Coverage(0, 0)


def test_bounds_of_a_share() -> None:
    low, high = Coverage(95, 100).bounds
    # Clopper and Pearson's, by their tables.
    assert (low, high) == pytest.approx((0.8872, 0.9836), abs=1e-4)
    assert str(Coverage(95, 100)) == "95/100 = 95.0% (88.7% to 98.4%)"
    assert Coverage(0, 0).bounds == (0.0, 1.0)
    assert Coverage(1, 2) + Coverage(3, 4) == Coverage(4, 6)


def test_errors_by_length_take_no_answer_as_no_joule() -> None:
    short = record([math.nan, 100.0, 100.0])
    short.length_s = [0.005] * 3
    few = score.by_length([short, record([90.0])], (0.02,))
    assert [(p.length_s, p.windows) for p in few] == [(0.005, 3), (1.0, 1)]
    assert [p.median for p in few] == pytest.approx([0.0, 10.0])
    assert few[0].p95 == pytest.approx(90.0)
    assert score.by_length([], (0.02,)) == []


def test_a_record_from_what_a_runner_says() -> None:
    heard = {
        "answers": [{"joules": 1.0, "u_j": 0.1}, {"joules": None, "u_j": None}],
        "stamps": [[0, 500_000_000], [1_000_000_000, 3_000_000_000]],
        "run_s": 4.0,
        "cpu_s": 0.1,
        "answer_cpu_s": 0.2,
    }
    r = Record.of("t", "s", heard, [1.0, 2.0], 7)
    assert r.length_s == [0.5, 2.0]
    assert r.joules[0] == 1.0
    assert math.isnan(r.joules[1])
    assert (r.u_j[0], r.u_same_card_j, r.calls, r.run_s) == (0.1, [], 7, 4.0)
    with pytest.raises(ValueError, match="2 answers, 1 windows"):
        Record.of("t", "s", heard, [1.0], 7)


# Reports -------------------------------------------------------------------------------------


def test_tables_have_a_column_for_each_tool_and_a_row_for_each_card() -> None:
    records = [
        record([101.0]),
        record([102.0], tool="polling"),
        record([103.0], config="h100, gain wrong, counter of truth"),
    ]
    (table,) = report.error_tables(records)
    assert [c.header for c in table.columns] == ["sensor", "pyenergy", "polling"]
    cells = [list(c.cells) for c in table.columns]
    assert cells[1:] == [["+1.0", "+3.0"], ["+2.0", ""]]


def test_coverage_is_told_apart_by_gain() -> None:
    wrong = "a100, gain wrong, counter of truth"
    records = [record([100.0], [1.0]), record([104.0], [1.0], config=wrong)]
    table = report.coverage_table(records)
    right_cells, wrong_cells = (list(table.columns[k].cells) for k in (1, 2))
    assert right_cells[-1].startswith("1/1")
    assert wrong_cells[-1].startswith("0/1")
    assert next(iter(table.columns[4].cells)) == "2.0"


def test_costs_are_per_second_measured() -> None:
    a = record([1.0], run_s=2.0, cpu_s=0.01, answer_cpu_s=0.02, calls=100)
    table = report.cost_table([a, a], {"pyenergy": "1.2"})
    assert [next(iter(c.cells)) for c in table.columns] == [
        "pyenergy",
        "1.2",
        "5.0",
        "10.0",
        "50.0",
    ]


def test_saved_records_come_back(tmp_path: Path) -> None:
    r = record([99.5, math.nan], [1.0, 2.0], calls=3)
    report.save([r], {"versions": {"pyenergy": "1"}, "missing": {}}, tmp_path / "r.json")
    (back,), about = report.load(tmp_path / "r.json")
    assert about["versions"] == {"pyenergy": "1"}
    assert {"cpu", "cores", "date"} <= set(about["machine"])
    assert math.isnan(back.joules.pop())
    r.joules.pop()
    assert back == r


def test_the_chart_names_every_tool(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    records = [record([99.0], tool=p.name) for p in PEERS]
    report.chart(records, tmp_path / "c.svg")
    text = (tmp_path / "c.svg").read_text()
    assert all(p.name in text for p in PEERS)
    assert set(report.STYLES) == {p.name for p in PEERS}


# Plans ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [scenarios.FULL, scenarios.QUICK], ids=["full", "quick"])
@pytest.mark.parametrize("name", NAMES)
def test_windows_are_in_order_and_steps_at_different_times(name: str, size: scenarios.Size) -> None:
    s = scenarios.build(name, size, 55.0, 400.0, "seed")
    edges = [t for _, start, end in s.windows for t in (start, end)]
    assert edges == sorted(edges)
    assert edges[0] >= scenarios.LEAD_S
    assert edges[-1] <= s.end_s - scenarios.LEAD_S + 1e-9
    times = [step.at_s for step in s.steps]
    assert all(a < b for a, b in pairwise(times))
    assert s == scenarios.build(name, size, 55.0, 400.0, "seed")
    assert s != scenarios.build(name, size, 55.0, 400.0, "another")


def test_the_full_plan() -> None:
    built = {n: scenarios.build(n, scenarios.FULL, 55.0, 700.0, "1") for n in NAMES}
    lengths = {n: [end - start for _, start, end in s.windows] for n, s in built.items()}
    assert lengths["steady"] == pytest.approx([10.0])
    assert lengths["square wave of 70 ms"] == pytest.approx([10.0])
    assert lengths["burst of 1 s"] == pytest.approx([1.0])
    assert lengths["windows of 50 ms"] == pytest.approx([0.05] * 100)
    assert lengths["windows of 5 ms"] == pytest.approx([0.005] * 100)
    assert 20.0 < sum(lengths["mix with ramps"]) < 36.0
    powers = [a for s in built.values() for step in s.steps for a in step.arguments]
    assert max(powers) == scenarios.WORK_W


def test_no_card_is_asked_for_more_than_it_may_draw() -> None:
    for name in NAMES:
        s = scenarios.build(name, scenarios.QUICK, 40.0, 300.0, "1")
        assert max(a for step in s.steps for a in step.arguments) <= 300.0


def test_configurations() -> None:
    full = worlds.configs(list(worlds.SENSORS), quick=False)
    assert len(set(full)) == len(full) == 16
    quick = worlds.configs(["a100", "h100"], quick=True)
    assert {(c.gain, c.counter) for c in quick} >= {("right", "truth"), ("wrong", "truth")}


def test_a_world_is_at_rest_until_it_plays(tmp_path: Path) -> None:
    config = worlds.Config("a100-rc", "wrong")
    first, second = (worlds.make(tmp_path / n, config, "1")[0] for n in ("a", "b"))
    assert first.true_power_w(10**9) == first.info.idle_w
    s = scenarios.build("mix with ramps", scenarios.QUICK, first.info.idle_w, 400.0, "1")
    for card in (first, second):
        worlds.play(card, s, 10**9)
    end_ns = 10**9 + round(s.end_s * 1e9)
    assert first.true_energy_j(10**9, end_ns) == second.true_energy_j(10**9, end_ns)
    assert first.true_power_w(end_ns) == first.info.idle_w
    assert first.reading_w(end_ns) == second.reading_w(end_ns)


def test_the_right_and_the_wrong_gain(tmp_path: Path) -> None:
    right = worlds.make(tmp_path / "r", worlds.Config("h100", "right"), "1")[0]
    wrong = worlds.make(tmp_path / "w", worlds.Config("h100", "wrong"), "1")[0]
    idle_w = right.info.idle_w
    for field in ("instant", "average"):
        assert right.reading_w(10**10, field)[0] == pytest.approx(idle_w, abs=5.0)
        expected = worlds.WRONG_GAIN * idle_w + worlds.WRONG_OFFSET_W
        assert wrong.reading_w(10**10, field)[0] == pytest.approx(expected, abs=5.0)


# Tools ---------------------------------------------------------------------------------------


def test_tools_are_chosen_by_name_or_family() -> None:
    assert [p.name for p in chosen(["zeus"])] == ["zeus counter", "zeus approx", "zeus power"]
    assert [p.name for p in chosen(["polling", "pyenergy"])] == ["pyenergy", "polling"]
    assert chosen(None) == list(PEERS)
    with pytest.raises(ValueError, match="no tool is called nosuch; there are: pyenergy"):
        chosen(["nosuch"])


def test_runners_are_there_versions_pinned_and_no_package_shadowed() -> None:
    for peer in PEERS:
        assert peer.script.is_file()
        assert all("==" in requirement for requirement in peer.requirements)
    for file in PEERS[0].script.parent.glob("*.py"):
        found = importlib.util.find_spec(file.stem) if file.stem != "__init__" else None
        assert found is None or Path(str(found.origin)) == file


def test_an_environment_that_is_there_is_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(venvs, "FOLDER", tmp_path)
    (peer,) = chosen(["nvitop"])
    home = tmp_path / "nvitop"
    home.mkdir()
    (home / "requirements.txt").write_text("\n".join(peer.requirements) + "\n")
    assert venvs.interpreter(peer) == home / "bin" / "python"
    assert venvs.interpreter(PEERS[0]) == Path(sys.executable)


def test_a_failing_installation_is_a_missing_tool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(venvs, "FOLDER", tmp_path)
    monkeypatch.setattr(venvs.sys, "executable", "/bin/false")
    (peer,) = chosen(["nvitop"])
    with pytest.raises(venvs.Missing, match="exit code 1"):
        venvs.interpreter(peer)
