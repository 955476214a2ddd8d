# SPDX-License-Identifier: Apache-2.0
"""Energy of tests: the ``energy`` fixture, ``--energy``, and ``@pytest.mark.max_joules(J)``.

pytest finds this plugin where pyenergy is installed. A test is measured when it has the fixture or
the marker, and each is with ``--energy``: a trace is around its body, fixtures are outside. What is
measured is the device's, with whatever else runs on it; under pytest-xdist that is the other
workers' tests too.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pyenergy import Energy, Trace

__all__ = ["EnergyBudgetWarning", "TestEnergy"]


class EnergyBudgetWarning(pytest.PytestWarning):
    """Whether a test keeps its budget cannot be told: the budget lies inside the 95 % interval."""


@dataclass
class TestEnergy:
    """What the fixture ``energy`` gives.

    Attributes
    ----------
    devices : str
        What is measured: ``--energy-devices``.
    """

    __test__ = False  # no test, whatever its name

    devices: str
    _trace: Trace | None = field(default=None, repr=False)

    @property
    def trace(self) -> Trace:
        """The trace around the test's body: open while it runs.

        Raises
        ------
        StateError
            Before the body, in another fixture's set-up.
        """
        if self._trace is None:
            from pyenergy.errors import StateError

            raise StateError("the test's body has not begun: its energy is measured from there on")
        return self._trace

    def so_far(self) -> Energy:
        """Energy since the body began."""
        return self.trace.energy


_MEASURED = pytest.StashKey[TestEnergy]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options, in a group of their own."""
    group = parser.getgroup("energy", "energy of tests (pyenergy)")
    group.addoption(
        "--energy", action="store_true", help="measure every test and report joules, largest first"
    )
    group.addoption(
        "--energy-devices",
        default="auto",
        metavar="DEVICES",
        help="what to measure, as pyenergy.trace(devices=...) takes it (default: auto)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker; refuse devices that do not exist before any test runs."""
    config.addinivalue_line(
        "markers",
        "max_joules(joules): fail when the test's energy is above the budget, its lower 95 % bound "
        "included; warn when that cannot be told",
    )
    if not config.getoption("--energy"):
        return
    from pyenergy import PyEnergyError, _devices

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an estimate is called so in the report
        try:
            _devices.resolve(config.getoption("--energy-devices"))
        except PyEnergyError as error:
            raise pytest.UsageError(f"--energy-devices: {error}") from None


@pytest.fixture
def energy(request: pytest.FixtureRequest) -> TestEnergy:
    """Energy of the test's body: ``energy.trace``, ``energy.so_far()``."""
    return _measured(request.node)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Measure the body, and hold it against its budget."""
    marker = item.get_closest_marker("max_joules")
    wanted = "energy" in getattr(item, "fixturenames", ())
    if not (wanted or marker or item.config.getoption("--energy")):
        return (yield)
    budget_j = None if marker is None else _budget_j(marker)
    found = _measured(item)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an estimate is called so in the report
        opened = _trace_of(found.devices)
    with opened as found._trace:
        result = yield
    told = _told(found.trace, item)
    if budget_j is not None:
        _hold(told, budget_j)
    return result


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One row for each test that was measured."""
    if not terminalreporter.config.getoption("--energy"):
        return
    reports = [r for group in terminalreporter.stats.values() for r in group]
    rows = {}
    for report in reports:
        if getattr(report, "when", "") == "call":
            told = dict(report.user_properties)
            if "energy_j" in told or "energy_missing" in told:
                rows[report.nodeid] = told
    terminalreporter.section("energy of tests")
    if not rows:
        terminalreporter.write_line("no test was measured")
        return
    for nodeid in sorted(rows, key=lambda n: -rows[n].get("energy_j", math.inf)):
        terminalreporter.write_line(f"{_shown(rows[nodeid])}  {nodeid}")
    terminalreporter.write_line("± is one standard uncertainty, the sensor's gain included")
    if getattr(terminalreporter.config.option, "numprocesses", None):
        terminalreporter.write_line(
            "workers ran tests at the same time on the same devices: each figure has the others' in"
        )


def _measured(item: pytest.Item) -> TestEnergy:
    return item.stash.setdefault(_MEASURED, TestEnergy(item.config.getoption("--energy-devices")))


def _trace_of(devices: str) -> Any:
    from pyenergy import PyEnergyError, _devices, trace

    try:
        _devices.resolve(devices)
    except PyEnergyError as error:
        pytest.fail(f"no energy of this test: --energy-devices: {error}", pytrace=False)
    return trace(devices=devices)


def _told(trace: Trace, item: pytest.Item) -> Energy | str:
    """The energy, or why there is none; the report is told either."""
    from pyenergy import PyEnergyError

    try:
        energy = trace.energy
    except PyEnergyError as error:
        item.user_properties.append(("energy_missing", str(error)))
        return str(error)
    item.user_properties += [
        ("energy_j", energy.joules),
        ("energy_u_j", energy.u),
        ("energy_s", energy.duration_s),
        ("energy_method", energy.method),
    ]
    return energy


def _budget_j(marker: pytest.Mark) -> float:
    given = marker.args
    if len(given) == 1 and not marker.kwargs and not isinstance(given[0], bool):
        try:
            budget = float(given[0])
        except (TypeError, ValueError, OverflowError):
            budget = math.nan
        if math.isfinite(budget) and budget > 0:
            return budget
    pytest.fail(
        f"max_joules takes one positive number of joules, got {given or marker.kwargs}",
        pytrace=False,
    )


def _hold(told: Energy | str, budget_j: float) -> None:
    """Fail where the budget is exceeded beyond doubt, warn where that cannot be told."""
    if isinstance(told, str):
        pytest.fail(f"its budget is {budget_j:g} J, and its energy is not known: {told}", False)
    low, high = told.interval(0.95)
    text = f"{told} (95 %: {told.format_interval(0.95)}), the budget is {budget_j:g} J"
    if low > budget_j:
        pytest.fail(f"the test took {text}", pytrace=False)
    if high > budget_j:
        parallel = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) > 1
        hint = "; run it alone" if parallel else "; run more of the work, or calibrate the card"
        warnings.warn(
            EnergyBudgetWarning(f"whether the test keeps its budget cannot be told: {text}{hint}"),
            stacklevel=2,
        )


def _shown(told: dict[str, Any]) -> str:
    if "energy_missing" in told:
        return f"{'not known':>20}  ({told['energy_missing']})"
    from pyenergy._energy import format_with_uncertainty

    text = format_with_uncertainty(told["energy_j"], told["energy_u_j"], "J")
    estimate = "  ESTIMATE" if "estimate" in told["energy_method"] else ""
    return f"{text:>20}  {told['energy_s']:9.3f} s{estimate}"
