# SPDX-License-Identifier: Apache-2.0
"""The pytest plugin, run by pytest in processes of its own on simulated cards."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET

import pytest

from pyenergy import Energy
from pyenergy.integrations.pytest_plugin import EnergyBudgetWarning, _hold
from pyenergy.testing import simulated

pytest_plugins = ["pytester"]

PLUGIN = ("-p", "pyenergy.integrations.pytest_plugin", "-p", "no:cacheprovider")
WAIT = "import time\ndef work(): time.sleep(0.1)\n"


def run(pytester: pytest.Pytester, source: str, *options: str) -> pytest.RunResult:
    pytester.makepyfile(test_it="import pytest\n" + WAIT + source)
    # The entry point may be installed: naming the plugin twice would register it twice.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        with simulated("ideal") as world:
            world[0].set_power(200.0, at_ns=0)
            return pytester.runpytest_subprocess(
                *PLUGIN, "--energy-devices", "sim", "-W", "error", *options
            )


def test_a_report_has_every_test_and_junit_its_figures(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        "def test_one(): work()\n"
        "def test_two(energy):\n"
        "    work()\n"
        "    assert energy.so_far().joules > 0 and energy.devices == 'sim'\n"
        "def test_fails():\n"
        "    assert False\n",
        "--energy",
        "--junitxml=out.xml",
    )
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*energy of tests*", "* J * s *test_it.py::test_*"])
    result.stdout.fnmatch_lines(["*test_it.py::test_one*"])
    cases = ET.parse(os.fspath(pytester.path / "out.xml")).getroot().iter("testcase")
    told = {p.get("name"): p.get("value") for c in cases if c.get("name") == "test_one"
            for p in c.iter("property")}  # fmt: skip
    # 200 W for as long as the body took.
    assert float(told["energy_j"]) == pytest.approx(200 * float(told["energy_s"]), rel=0.02)
    assert float(told["energy_u_j"]) > 0


def test_budgets(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        "@pytest.mark.max_joules(1e6)\n"
        "def test_kept(): work()\n"
        "@pytest.mark.max_joules(0.1)\n"
        "def test_exceeded(): time.sleep(0.4)\n"
        "@pytest.mark.max_joules('much')\n"
        "def test_no_number(): work()\n"
        "@pytest.mark.max_joules(2)\n"
        "def test_own_failure():\n"
        "    work()\n"
        "    assert 1 == 2\n",
        "--strict-markers",
    )
    result.assert_outcomes(passed=1, failed=3)
    result.stdout.fnmatch_lines_random(
        [
            "*the test took * J*, the budget is 0.1 J",
            "*max_joules takes one positive number of joules, got ('much',)*",
            "*assert 1 == 2*",
        ]
    )
    result.stdout.no_fnmatch_line("*energy of tests*")


@pytest.mark.parametrize(("budget_j", "verdict"), [(17.9, "fails"), (20.0, "warns"), (22.1, "")])
def test_a_verdict_is_given_where_the_interval_allows_one(budget_j: float, verdict: str) -> None:
    """20 J with a standard uncertainty of 1 J: from 18.04 to 21.96 J with 95 %."""
    told = Energy(20.0, 1.0, "trapezoid", "gpu")
    if verdict == "fails":
        with pytest.raises(
            pytest.fail.Exception, match=r"took 20\.0 ± 1\.0 J .* budget is 17\.9 J"
        ):
            _hold(told, budget_j)
    elif verdict == "warns":
        with pytest.warns(EnergyBudgetWarning, match="cannot be told: 20.0 ± 1.0 J"):
            _hold(told, budget_j)
    else:
        _hold(told, budget_j)


def test_devices_that_do_not_exist_are_refused_at_once(pytester: pytest.Pytester) -> None:
    result = run(
        pytester, "def test_one(): pass\n", "--energy", "--energy-devices", "warp", "-W", "default"
    )
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--energy-devices: unknown device 'warp'*"])


def test_a_budget_without_a_reading_is_not_kept(pytester: pytest.Pytester) -> None:
    """Missing is not zero: the card fails every read."""
    pytester.makeconftest(
        "from pyenergy.testing import SimulatedWorld\nSimulatedWorld.current()[0].inject('fails')\n"
    )
    result = run(pytester, "@pytest.mark.max_joules(5)\ndef test_one(): pass\n", "--energy")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*its energy is not known*", "*not known*test_one*"])


def test_workers_tell_the_report(pytester: pytest.Pytester) -> None:
    result = run(pytester, "def test_one(): work()\n", "-p", "xdist", "-n", "1", "--energy")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["* J * s *test_it.py::test_one*", "*workers ran tests*"])
