# SPDX-License-Identifier: Apache-2.0
"""Which test shows what a sensor does under which fault, and the table of them in tests/README.md.

``python tests/contract/fault_table.py`` writes the table; a test compares it.
"""

from __future__ import annotations

import re
from pathlib import Path

FAULTS = (
    "absent", "no permission", "vanishes", "garbage", "slow", "wraps", "resets", "time steps",
)  # fmt: skip

TESTS = Path(__file__).resolve().parent.parent
_MATRIX = "contract/test_fault_matrix.py"
_NVML, _DRIVER = "contract/test_nvml.py", "integration/test_driver_faults.py"
_DCGM, _FAULTS = "contract/test_dcgm.py", "integration/test_faults.py"
_CPP_DCGM, _CPP_RAPL = "cpp/test_sensors_dcgm.cpp", "cpp/test_sensors_rapl_ways.cpp"

# (what is shown, file, test), or why a cell cannot be.
Cell = tuple[str, str, str] | str
_STAMPS = "cannot be: its readings are stamped by CLOCK_MONOTONIC, which nobody can set"
_POWER = "cannot be: a power has nothing that could wrap or restart"
_RATIO = "cannot be: a ratio has nothing that could wrap or restart"


def _of_files(counter: bool) -> dict[str, Cell]:
    """Sensors that are files of the kernel."""
    return {
        "absent": ("refused", _MATRIX, "test_a_sensor_that_is_absent_says_so"),
        "no permission": (
            "refused, with the fix", _MATRIX, "test_a_sensor_that_may_not_be_read_names_the_fix",
        ),
        "vanishes": ("gap", _MATRIX, "test_a_sensor_that_vanishes_is_a_gap_of_any_power"),
        "garbage": ("not used", _MATRIX, "test_garbage_is_counted_and_not_used"),
        "slow": (
            "counts on" if counter else "gap",
            _MATRIX, "test_a_read_that_hangs_is_a_gap_unless_a_counter_counts_on",
        ),
        "wraps": ("exact", _MATRIX, "test_a_wrap_costs_nothing") if counter else _POWER,
        "resets": ("gap", _MATRIX, "test_a_reset_is_stated_and_covered") if counter else _POWER,
        "time steps": _STAMPS,
    }  # fmt: skip


TABLE: dict[str, dict[str, Cell]] = {
    "NVML": {
        "absent": (
            "refused", _DRIVER, "test_without_a_driver_a_gpu_is_an_error_that_says_why",
        ),
        "no permission": (
            "refused, with why", _DRIVER, "test_a_gpu_that_may_not_be_read_is_refused_and_says_so",
        ),
        "vanishes": ("gap", _DRIVER, "test_a_gpu_lost_in_the_middle_is_a_stated_gap"),
        "garbage": ("not used", _DRIVER, "test_impossible_readings_are_not_used"),
        "slow": ("gap", _DRIVER, "test_a_call_that_hangs_for_a_while_is_a_stated_gap"),
        "wraps": ("one step lost", _FAULTS, "test_a_counter_that_falls_back_costs_one_increment"),
        "resets": ("one step lost", _FAULTS, "test_a_counter_that_falls_back_costs_one_increment"),
        "time steps": (
            "exact", "cpp/test_sensors_nvml.cpp",
            "the driver's samples are placed on the monotonic clock, each once",
        ),
    },
    "activity (GPM, DCGM)": {
        "absent": (
            "said", _DCGM, "test_before_hopper_only_utilisation_is_left_and_says_what_it_is",
        ),
        "no permission": (
            "said, with the fix", _DCGM,
            "test_no_permission_to_profile_leaves_power_and_says_the_fix",
        ),
        "vanishes": ("missing", _DCGM, "test_a_lost_gpu_has_no_activity_either"),
        "garbage": (
            "missing", _CPP_DCGM,
            "dcgm: a value with a status of its own, or of a strange type, is missing",
        ),
        "slow": (
            "left alone, said", _CPP_DCGM,
            "dcgm: an engine that answers slowly is left alone, and that is said",
        ),
        "wraps": _RATIO,
        "resets": _RATIO,
        "time steps": (
            "gap", _CPP_DCGM,
            "dcgm: a Unix clock that is set is a gap, whichever way, and readings go on",
        ),
    },
    "DCGM": {
        "absent": ("refused, with the fix", _DCGM, "test_no_library"),
        "no permission": (
            "power stays", _DCGM, "test_no_permission_to_profile_leaves_power_and_says_the_fix",
        ),
        "vanishes": ("refused", _DCGM, "test_a_vanished_gpu_is_missing_everywhere_and_said"),
        "garbage": ("not used", _DCGM, "test_impossible_power_is_not_believed"),
        "slow": ("nothing lost", _DCGM, "test_a_call_that_hangs_loses_nothing_that_dcgm_kept"),
        "wraps": ("one step lost", _DCGM, "test_a_counter_that_wraps_is_flagged"),
        "resets": ("one step lost", _DCGM, "test_a_counter_that_restarts_is_flagged"),
        "time steps": (
            "gap", _CPP_DCGM,
            "dcgm: a Unix clock that is set is a gap, whichever way, and readings go on",
        ),
    },
    "RAPL powercap": _of_files(counter=True),
    "RAPL perf events": {
        "absent": (
            "refused", _CPP_RAPL, "events that are not there, or not in joules, are left alone",
        ),
        "no permission": (
            "refused, with the fix", _CPP_RAPL,
            "refused events name the setting that refuses them",
        ),
        "vanishes": (
            "missing", _CPP_RAPL,
            "counts become joules; the end of what can be read is missing",
        ),
        "garbage": "cannot be: the kernel gives eight bytes, each of which is a count",
        "slow": (
            "counts on", _CPP_RAPL, "a slow read gives its value with the bracket that it took",
        ),
        "wraps": "cannot be: the kernel extends the counters to 64 bits",
        "resets": "cannot be: an event counts from its opening until it is closed",
        "time steps": _STAMPS,
    },
    "RAPL registers": _of_files(counter=True),
    "hwmon": _of_files(counter=False),
    "IIO": _of_files(counter=False),
    "estimate": {
        "absent": ("refused", _MATRIX, "test_an_estimate_without_a_load_is_refused"),
        "no permission": "cannot be: every process may read /proc/stat",
        "vanishes": ("gap", _MATRIX, "test_a_load_that_cannot_be_told_is_missing"),
        "garbage": ("gap", _MATRIX, "test_a_load_that_cannot_be_told_is_missing"),
        "slow": "cannot be: /proc/stat is made in memory, and the load is over any length of time",
        "wraps": "cannot be: jiffies have 64 bits",
        "resets": ("gap", _MATRIX, "test_a_load_that_cannot_be_told_is_missing"),
        "time steps": _STAMPS,
    },
    "replay": {
        "absent": ("refused", _MATRIX, "test_a_recording_that_cannot_be_replayed_is_refused"),
        "no permission": (
            "refused", _MATRIX, "test_a_recording_that_cannot_be_replayed_is_refused",
        ),
        "vanishes": "cannot be: the file has been read when a replay begins",
        "garbage": ("refused", _MATRIX, "test_a_recording_that_cannot_be_replayed_is_refused"),
        "slow": "cannot be: it is in memory",
        "wraps": "cannot be: a recording holds totals",
        "resets": "cannot be: a recording holds totals; that one was reset is a flag of them",
        "time steps": (
            "refused", _MATRIX, "test_a_recording_that_cannot_be_replayed_is_refused",
        ),
    },
    "sim": {
        "absent": ("refused", _MATRIX, "test_a_sensor_that_is_absent_says_so"),
        "no permission": ("refused", _FAULTS, "test_nothing_read_is_an_error_and_no_zero"),
        "vanishes": (
            "gap", _FAULTS, "test_lost_readings_widen_the_uncertainty_and_are_stated",
        ),
        "garbage": (
            "not used", _FAULTS, "test_lost_readings_widen_the_uncertainty_and_are_stated",
        ),
        "slow": ("gap", _FAULTS, "test_a_call_that_hangs_hides_what_happens_meanwhile"),
        "wraps": ("one step lost", _FAULTS, "test_a_counter_that_falls_back_costs_one_increment"),
        "resets": ("one step lost", _FAULTS, "test_a_counter_that_falls_back_costs_one_increment"),
        "time steps": _STAMPS,
    },
}  # fmt: skip


def missing() -> list[str]:
    """Cells that are not there, or name a test that is not."""
    found = []
    for sensor, row in TABLE.items():
        found += [f"{sensor}, {fault}: no cell" for fault in FAULTS if fault not in row]
        for fault, cell in row.items():
            if not isinstance(cell, str) and not _exists(cell[1], cell[2]):
                found.append(f"{sensor}, {fault}: no test {cell[2]!r} in {cell[1]}")
    return found


def _exists(file: str, test: str) -> bool:
    text = (TESTS / file).read_text()
    if file.endswith(".cpp"):
        return re.search(rf'TEST_CASE\(\s*"{re.escape(test)}"\)', text) is not None
    return re.search(rf"^def {re.escape(test)}\(", text, re.MULTILINE) is not None


def shown() -> str:
    """The table and its footnotes, as Markdown."""
    notes: dict[str, int] = {}
    lines = [f"| sensor | {' | '.join(FAULTS)} |", f"|---|{'---|' * len(FAULTS)}"]
    for sensor, row in TABLE.items():
        cells = [_cell(row[fault], notes) for fault in FAULTS]
        lines.append(f"| {sensor} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *(f"{n}. {text}" for text, n in notes.items())]) + "\n"


def _cell(cell: Cell, notes: dict[str, int]) -> str:
    if isinstance(cell, str):
        return f"— ({notes.setdefault(cell, len(notes) + 1)})"
    outcome, file, test = cell
    where = f"`{file}`: {test}"
    return f"{outcome} ({notes.setdefault(where, len(notes) + 1)})"


def write(readme: Path) -> None:
    """Put the table where the old one is."""
    begin, end = "<!-- faults -->\n", "<!-- /faults -->\n"
    before, _, rest = readme.read_text().partition(begin)
    readme.write_text(before + begin + shown() + end + rest.partition(end)[2])


if __name__ == "__main__":
    write(TESTS / "README.md")
