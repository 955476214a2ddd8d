# SPDX-License-Identifier: Apache-2.0
"""
pyenergy's C++ core: sampling, energy curves, sensors and the simulated GPU.
"""

from __future__ import annotations

import collections.abc
import typing

import numpy
import numpy.typing

__all__: list[str] = [
    "Activity",
    "Channel",
    "CounterDifference",
    "DeviceInfo",
    "EnergyCurve",
    "FLAG_CONTINUES",
    "FLAG_ESTIMATE",
    "FLAG_GAP_BEFORE",
    "FLAG_INVALID",
    "FLAG_MISSING",
    "FLAG_RESET",
    "FLAG_WRAPPED",
    "GAIN_U",
    "LIVE_HEADER",
    "LiveFiles",
    "LiveTail",
    "ManualClock",
    "OFFSET_U_W",
    "PowerIntegral",
    "Recording",
    "SensorPrior",
    "SimCard",
    "SimWorld",
    "SourceReport",
    "Stream",
    "SweepResult",
    "abandon_collector_after_fork",
    "add_tail",
    "counters",
    "enumerate",
    "follow",
    "gpu_use",
    "live_header",
    "now_ns",
    "open_channels",
    "pooled_variance",
    "register_replay",
    "remove_tail",
    "replay_offset_ns",
    "resume_counter",
    "resume_run",
    "resumed_recording",
    "run_delay",
    "sensor_architectures",
    "sensor_prior",
    "sim_presets",
    "sources",
    "status_text",
    "sweep",
    "take_anchor",
    "take_samples",
    "unfollow",
    "write_live",
]

class Channel:
    """
    What one channel of a device measures.
    """
    def __repr__(self) -> str: ...
    @property
    def delay_ns(self) -> int:
        """
        Delay, ns; -1 not known.
        """
    @property
    def group(self) -> str:
        """
        fast: read at the sampling rate; slow: at about 10 Hz.
        """
    @property
    def kind(self) -> str:
        """
        gauge, or counter (only differences mean anything).
        """
    @property
    def modulus(self) -> float:
        """
        Raw value at which a counter wraps; 0: never.
        """
    @property
    def name(self) -> str:
        """
        Unique in a device: power, energy, sm_clock, ...
        """
    @property
    def note(self) -> str:
        """
        What a user must know.
        """
    @property
    def scale(self) -> float:
        """
        SI value = raw value * scale.
        """
    @property
    def scope(self) -> str:
        """
        What it covers.
        """
    @property
    def source(self) -> str:
        """
        What is read.
        """
    @property
    def unit(self) -> str:
        """
        SI unit of the readings.
        """
    @property
    def update_ns(self) -> int:
        """
        Update period that the source states, ns; 0 continuous, -1 not known.
        """
    @property
    def valid_max(self) -> float:
        """
        Larger readings are invalid, SI.
        """
    @property
    def valid_min(self) -> float:
        """
        Smaller readings are invalid, SI.
        """
    @property
    def window_ns(self) -> int:
        """
        Averaging window, ns; -1 not known.
        """

class DeviceInfo:
    """
    A device that a source has found; read-only.
    """
    def __init__(self, **kwargs: typing.Any) -> None: ...
    def __repr__(self) -> str: ...
    @property
    def architecture(self) -> str: ...
    @property
    def argument(self) -> str: ...
    @property
    def driver(self) -> str: ...
    @property
    def facts(self) -> dict[str, str]: ...
    @property
    def index(self) -> int:
        """
        in the source's own order (NVML: PCI bus order)
        """
    @property
    def kind(self) -> str:
        """
        gpu, cpu, dram, platform, module, rail or sensor
        """
    @property
    def mig_enabled(self) -> bool: ...
    @property
    def mig_uuids(self) -> list[str]: ...
    @property
    def name(self) -> str: ...
    @property
    def notes(self) -> list[str]: ...
    @property
    def part_of(self) -> str:
        """
        argument of the same source's device that contains it, or empty
        """
    @property
    def pci_bus_id(self) -> str: ...
    @property
    def power_max_w(self) -> float:
        """
        the enforced limit; NaN: unknown
        """
    @property
    def power_min_w(self) -> float: ...
    @property
    def source(self) -> str: ...
    @property
    def speed_score(self) -> float:
        """
        larger is faster; 0: unknown
        """
    @property
    def uuid(self) -> str: ...

class SourceReport:
    """
    What looking for a source's devices found.
    """
    @property
    def available(self) -> bool: ...
    @property
    def devices(self) -> list[DeviceInfo]: ...
    @property
    def fix(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def source(self) -> str: ...

class ManualClock:
    """
    A clock that moves only when told, for tests.
    """
    def __init__(
        self, start_ns: typing.SupportsInt | typing.SupportsIndex = 0, auto_advance: bool = True
    ) -> None:
        """
        With auto_advance a sleep moves the time to its own deadline; without, it waits.
        """
    def advance(self, by_ns: typing.SupportsInt | typing.SupportsIndex) -> None:
        """
        Move on by `by_ns`.
        """
    def now_ns(self) -> int:
        """
        The time, ns.
        """

class Recording:
    """
    What one start of a device's sampler has seen, by channel.
    """
    def forget_before(self, t_ns: typing.SupportsInt | typing.SupportsIndex) -> bool:
        """
        Nobody needs what was read before t_ns. At most twice the rows that are needed (and
        1024) stay in memory, and what a live file still lacks; views stay valid. False: there
        was no memory to move the rest to, and nothing went.
        """
    def last_t_ns(self, channel: typing.SupportsInt | typing.SupportsIndex) -> int:
        """
        t_ns of the latest sample collected; 0 before the first.
        """
    def row_since(
        self,
        channel: typing.SupportsInt | typing.SupportsIndex,
        t_ns: typing.SupportsInt | typing.SupportsIndex,
    ) -> int:
        """
        Number of the row, counted from the channel's first ever, with which someone begins
        who needs the readings since t_ns.
        """
    def runs(self, channel: typing.SupportsInt | typing.SupportsIndex) -> dict[str, numpy.ndarray]:
        """
        Columns of the channel's runs: t_first_ns, read_first_ns, t_last_ns, read_last_ns
        (int64), value (float64, SI), count, flags (uint32). Read-only zero-copy views that
        keep their memory alive, also when the recording forgets it.
        """
    def seal(self) -> None:
        """
        End the open runs, so that `runs` shows everything collected so far.
        """
    @property
    def channels(self) -> list[Channel]:
        """
        Channels, in index order.
        """

class Stream:
    """
    One device's sensor, sampler thread and recording; shared by its users.
    """
    def __init__(
        self,
        info: DeviceInfo,
        *,
        period_ns: typing.SupportsInt | typing.SupportsIndex = 1000000,
        pacing: str = "fixed",
        jitter: typing.SupportsFloat | typing.SupportsIndex = 0.0,
        dense_ns: typing.SupportsInt | typing.SupportsIndex = 250000,
        sparse_ns: typing.SupportsInt | typing.SupportsIndex = 20000000,
        slow_period_ns: typing.SupportsInt | typing.SupportsIndex = 100000000,
        gap_ns: typing.SupportsInt | typing.SupportsIndex = 0,
        ring_capacity: typing.SupportsInt | typing.SupportsIndex = 0,
        seeds_ns: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] = [],
        clock: ManualClock | None = None,
    ) -> None:
        """
        Open the device. ValueError for options that cannot be, RuntimeError when the device
        cannot be opened.
        """
    def abandon_after_fork(self) -> None:
        """
        In a forked child: forget the parent's thread.
        """
    def acquire(self) -> None:
        """
        Hold the stream; starts its thread when none runs.
        """
    def drain(self) -> None:
        """
        Move what lies in the ring to the recording.
        """
    def release(self, linger_ns: typing.SupportsInt | typing.SupportsIndex = 0) -> None:
        """
        Let go; the thread goes on for linger_ns when nobody holds it. Never waits.
        """
    def run_inline(self, steps: typing.SupportsInt | typing.SupportsIndex) -> None:
        """
        Poll `steps` times in this thread; ValueError unless the clock is manual.
        """
    def stats(self) -> dict[str, typing.Any]:
        """
        Counts (polls, samples, dropped, missed_deadlines, failed_reads, relocks, lost), the
        phase lock, and for fast_latency, slow_latency and lateness count, p50_ns, p99_ns,
        max_ns.
        """
    def stop(self, timeout_s: typing.SupportsFloat | typing.SupportsIndex = 5.0) -> bool:
        """
        End the thread whoever holds it. False when it hangs in a read for longer.
        """
    @property
    def channels(self) -> list[Channel]:
        """
        Channels, by index.
        """
    @property
    def dropped(self) -> int:
        """
        Samples dropped by a full ring, or lost for want of memory, since the stream began.
        """
    @property
    def gap_ns(self) -> int:
        """
        A longer silence between reads is a gap, ns.
        """
    @property
    def info(self) -> DeviceInfo:
        """
        The device.
        """
    @property
    def recording(self) -> Recording:
        """
        Of the present or latest start.
        """
    @property
    def ring_capacity(self) -> int:
        """
        Samples that the ring holds: a second's, at least 1024.
        """
    @property
    def running(self) -> bool:
        """
        Whether the thread runs.
        """
    @property
    def slow_gap_ns(self) -> int:
        """
        The same of the slow channels, ns.
        """

class EnergyCurve:
    """
    Cumulative integral of a piecewise-linear curve (W gives J).
    """
    @staticmethod
    def from_runs(
        t_first_ns: numpy.ndarray,
        read_first_ns: numpy.ndarray,
        t_last_ns: numpy.ndarray,
        read_last_ns: numpy.ndarray,
        value: numpy.ndarray,
        flags: numpy.ndarray,
    ) -> EnergyCurve:
        """
        From the columns of `Recording.runs`: flat while a reading was unchanged, linear
        between runs; missing and invalid runs carry no knot.
        """
    def __init__(self, t_ns: numpy.ndarray, y: numpy.ndarray) -> None:
        """
        Knots: int64 ns, non-decreasing (equal times are a jump), and finite float64.
        TypeError for other dtypes, ValueError otherwise.
        """
    def __len__(self) -> int: ...
    def knots(
        self,
    ) -> tuple[numpy.typing.NDArray[numpy.int64], numpy.typing.NDArray[numpy.float64]]:
        """
        (t_ns, y), copies.
        """
    def values(self, times_ns: numpy.ndarray) -> numpy.typing.NDArray[numpy.float64]:
        """
        y at each time, shape (n,).
        """
    def windows(
        self,
        starts_ns: numpy.ndarray,
        ends_ns: numpy.ndarray,
        threads: typing.SupportsInt | typing.SupportsIndex = 0,
    ) -> numpy.typing.NDArray[numpy.float64]:
        """
        Integrals over [starts_ns, ends_ns], shape (n,); fastest when sorted by start. The
        windows must lie inside [start_ns, end_ns]. threads 0: as many as there are cores.
        """
    @property
    def end_ns(self) -> int:
        """
        Time of the last knot, ns.
        """
    @property
    def start_ns(self) -> int:
        """
        Time of the first knot, ns.
        """
    @property
    def total(self) -> float:
        """
        Integral over all, unit of y times seconds.
        """

class PowerIntegral:
    """
    Energy of a power channel as the plain integral of its readings.
    """
    def __init__(
        self,
        t_first_ns: numpy.ndarray,
        read_first_ns: numpy.ndarray,
        t_last_ns: numpy.ndarray,
        read_last_ns: numpy.ndarray,
        value: numpy.ndarray,
        flags: numpy.ndarray,
        *,
        update_ns: typing.SupportsInt | typing.SupportsIndex,
        window_ns: typing.SupportsInt | typing.SupportsIndex,
        lag_ns: typing.SupportsInt | typing.SupportsIndex,
        coverage: typing.SupportsFloat | typing.SupportsIndex,
        power_min_w: typing.SupportsFloat | typing.SupportsIndex,
        power_max_w: typing.SupportsFloat | typing.SupportsIndex,
        start_ns: typing.SupportsInt | typing.SupportsIndex,
        end_ns: typing.SupportsInt | typing.SupportsIndex,
        gap_ns: typing.SupportsInt | typing.SupportsIndex,
    ) -> None:
        """
        RuntimeError when no run is usable.
        """
    def windows(
        self,
        starts_ns: numpy.ndarray,
        ends_ns: numpy.ndarray,
        threads: typing.SupportsInt | typing.SupportsIndex = 0,
    ) -> tuple[
        numpy.typing.NDArray[numpy.float64],
        numpy.typing.NDArray[numpy.float64],
        numpy.typing.NDArray[numpy.float64],
        numpy.typing.NDArray[numpy.float64],
    ]:
        """
        (joules, edges, inside, gaps) of [starts_ns, ends_ns], J, each of shape (n,).
        """
    @property
    def curve(self) -> EnergyCurve:
        """
        Whose integral the energy is, W.
        """
    @property
    def gap_ends_ns(self) -> numpy.typing.NDArray[numpy.int64]:
        """
        Where they end.
        """
    @property
    def gap_starts_ns(self) -> numpy.typing.NDArray[numpy.int64]:
        """
        Where times without readings begin.
        """
    @property
    def high_w(self) -> float:
        """
        Most power.
        """
    @property
    def low_w(self) -> float:
        """
        Least power.
        """
    @property
    def unseen(self) -> EnergyCurve:
        """
        Variance of what the sensor does not look at, J^2/s; None: nothing.
        """

class CounterDifference:
    """
    Energy of a counter channel as its plain difference.
    """
    def __init__(
        self,
        t_first_ns: numpy.ndarray,
        read_first_ns: numpy.ndarray,
        t_last_ns: numpy.ndarray,
        read_last_ns: numpy.ndarray,
        value: numpy.ndarray,
        flags: numpy.ndarray,
        *,
        power_min_w: typing.SupportsFloat | typing.SupportsIndex,
        power_max_w: typing.SupportsFloat | typing.SupportsIndex,
        coverage: typing.SupportsFloat | typing.SupportsIndex,
    ) -> None:
        """
        RuntimeError when the counter did not move.
        """
    def windows(
        self,
        starts_ns: numpy.ndarray,
        ends_ns: numpy.ndarray,
        threads: typing.SupportsInt | typing.SupportsIndex = 0,
    ) -> tuple[
        numpy.typing.NDArray[numpy.float64],
        numpy.typing.NDArray[numpy.float64],
        numpy.typing.NDArray[numpy.float64],
        numpy.typing.NDArray[numpy.float64],
    ]:
        """
        (joules, edges, inside, gaps) of [starts_ns, ends_ns], J, each of shape (n,).
        """
    @property
    def curve(self) -> EnergyCurve:
        """
        Whose integral the energy is, W.
        """
    @property
    def high_w(self) -> float:
        """
        Most power.
        """
    @property
    def low_w(self) -> float:
        """
        Least power.
        """
    @property
    def mean_w(self) -> float:
        """
        Over all that it covers.
        """

class SensorPrior:
    """
    What is known of a power sensor beforehand.
    """
    @property
    def coverage(self) -> float: ...
    @property
    def delay_ns(self) -> int: ...
    @property
    def gain_u(self) -> float: ...
    @property
    def known_by(self) -> str:
        """
        nothing, log, stated or catalogue: how much is known of what a reading averages.
        """
    @property
    def lag_ns(self) -> int: ...
    @property
    def offset_u_w(self) -> float: ...
    @property
    def origin(self) -> str: ...
    @property
    def rc_ns(self) -> int: ...
    @property
    def update_ns(self) -> int: ...
    @property
    def window_ns(self) -> int: ...

class LiveFiles:
    """
    Files that follow a recording, written every 50 ms.
    """
    @property
    def error(self) -> int:
        """
        errno of the latest write; 0: everything is in the files.
        """

class LiveTail:
    """
    The latest samples of a sampler in a mapped file.
    """
    def __init__(
        self,
        path: str,
        capacity: typing.SupportsInt | typing.SupportsIndex,
        seed: typing.SupportsInt | typing.SupportsIndex,
    ) -> None:
        """
        A new file. OSError when it cannot be made; ENOTSUP where it would not be memory.
        """

class Activity:
    """
    Spans of time by class; they may nest and overlap.
    """
    def __init__(
        self,
        starts_ns: numpy.ndarray,
        ends_ns: numpy.ndarray,
        classes: numpy.ndarray,
        class_count: typing.SupportsInt | typing.SupportsIndex,
    ) -> None:
        """
        int64 ns, int64 ns, int32 in [0, class_count). ValueError for reversed spans, unknown
        classes and sizes that differ; TypeError for other dtypes.
        """
    def lowpass(
        self, times_ns: numpy.ndarray, tau_ns: typing.SupportsInt | typing.SupportsIndex
    ) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
        """
        Number of running spans of each class behind a first-order low-pass, at
        non-decreasing times; sparse rows as `overlap`.
        """
    def overlap(
        self,
        starts_ns: numpy.ndarray,
        ends_ns: numpy.ndarray,
        threads: typing.SupportsInt | typing.SupportsIndex = 0,
    ) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
        """
        Seconds of each class inside each window, as sparse rows (begin, index, value): row i
        is index[begin[i]:begin[i + 1]], value[...]. threads 0: as many as there are cores.
        """
    @property
    def classes(self) -> int:
        """
        How many classes.
        """
    @property
    def segments(self) -> int:
        """
        Moments at which anything changes.
        """

class SweepResult:
    """
    Energy by operation and gap; arrays are read-only views.
    """
    @property
    def alone_s(self) -> numpy.typing.NDArray[numpy.float64]:
        """
        Seconds in which it alone ran.
        """
    @property
    def busy_s(self) -> float:
        """
        Seconds in which anything ran.
        """
    @property
    def cut(self) -> int:
        """
        Operations that reach outside the window.
        """
    @property
    def deepest(self) -> int:
        """
        Most operations at once.
        """
    @property
    def empty(self) -> int:
        """
        Operations without length.
        """
    @property
    def energy_j(self) -> numpy.typing.NDArray[numpy.float64]:
        """
        Of each operation.
        """
    @property
    def gap_ends_ns(self) -> numpy.typing.NDArray[numpy.int64]:
        """
        Where a gap ends.
        """
    @property
    def gap_energy_j(self) -> numpy.typing.NDArray[numpy.float64]:
        """
        Of each gap.
        """
    @property
    def gap_starts_ns(self) -> numpy.typing.NDArray[numpy.int64]:
        """
        Where nothing ran.
        """
    @property
    def gaps_j(self) -> float:
        """
        Sum of gap_energy_j.
        """
    @property
    def lower_j(self) -> numpy.typing.NDArray[numpy.float64]:
        """
        Least energy_j: nothing of the dynamic part where it overlapped.
        """
    @property
    def negative_j(self) -> float:
        """
        Dynamic energy of the negative segments.
        """
    @property
    def negative_segments(self) -> int:
        """
        Segments with less energy than the static power explains.
        """
    @property
    def operations_j(self) -> float:
        """
        Sum of energy_j.
        """
    @property
    def outside(self) -> int:
        """
        Operations wholly outside the window.
        """
    @property
    def outside_s(self) -> float:
        """
        Seconds of operations outside the window.
        """
    @property
    def overlap_s(self) -> float:
        """
        Seconds in which several ran.
        """
    @property
    def overlapped_s(self) -> numpy.typing.NDArray[numpy.float64]:
        """
        Seconds in which others ran too.
        """
    @property
    def segments(self) -> int:
        """
        Stretches between neighbouring edges.
        """
    @property
    def static_j(self) -> float:
        """
        Static energy kept apart, else 0.
        """
    @property
    def total_j(self) -> float:
        """
        Energy of the window.
        """
    @property
    def upper_j(self) -> numpy.typing.NDArray[numpy.float64]:
        """
        Most energy_j: all of the dynamic part where it overlapped.
        """

class SimCard:
    """
    One simulated GPU, seen by every process of its world.
    """
    def boxcar_w(
        self,
        window_ns: typing.SupportsInt | typing.SupportsIndex,
        t_ns: typing.SupportsInt | typing.SupportsIndex,
    ) -> float: ...
    def calls(self, name: str) -> int:
        """
        How often this group of driver calls was made.
        """
    def clear_faults(self) -> None: ...
    def clock_hz(self, t_ns: typing.SupportsInt | typing.SupportsIndex) -> float: ...
    def configure(
        self,
        average: bool,
        *,
        present: bool | None = None,
        response: str | None = None,
        update_ns: typing.SupportsInt | typing.SupportsIndex | None = None,
        phase_ns: typing.SupportsInt | typing.SupportsIndex | None = None,
        jitter_ns: typing.SupportsInt | typing.SupportsIndex | None = None,
        window_ns: typing.SupportsInt | typing.SupportsIndex | None = None,
        delay_ns: typing.SupportsInt | typing.SupportsIndex | None = None,
        gain: typing.SupportsFloat | typing.SupportsIndex | None = None,
        offset_w: typing.SupportsFloat | typing.SupportsIndex | None = None,
        noise_w: typing.SupportsFloat | typing.SupportsIndex | None = None,
        quantum_w: typing.SupportsFloat | typing.SupportsIndex | None = None,
    ) -> None: ...
    def configure_counter(
        self,
        *,
        present: bool | None = None,
        integrates: str | None = None,
        update_ns: typing.SupportsInt | typing.SupportsIndex | None = None,
        phase_ns: typing.SupportsInt | typing.SupportsIndex | None = None,
        epoch_ns: typing.SupportsInt | typing.SupportsIndex | None = None,
        gain: typing.SupportsFloat | typing.SupportsIndex | None = None,
        start_mj: typing.SupportsFloat | typing.SupportsIndex | None = None,
        quantum_mj: typing.SupportsFloat | typing.SupportsIndex | None = None,
        modulus_mj: typing.SupportsFloat | typing.SupportsIndex | None = None,
    ) -> None: ...
    def counter_mj(self, t_ns: typing.SupportsInt | typing.SupportsIndex) -> float: ...
    def field(self, average: bool) -> dict[str, typing.Any]: ...
    def inject(
        self,
        fault: str,
        target: None | typing.SupportsInt | typing.SupportsIndex | str = None,
        *,
        every: typing.SupportsInt | typing.SupportsIndex | None = None,
        once: bool = False,
        from_ns: typing.SupportsInt | typing.SupportsIndex | None = None,
        value: typing.SupportsFloat | typing.SupportsIndex | None = None,
    ) -> None: ...
    def lowpass_w(
        self,
        tau_ns: typing.SupportsInt | typing.SupportsIndex,
        t_ns: typing.SupportsInt | typing.SupportsIndex,
    ) -> float: ...
    def ramp(
        self,
        from_w: typing.SupportsFloat | typing.SupportsIndex,
        to_w: typing.SupportsFloat | typing.SupportsIndex,
        duration_ns: typing.SupportsInt | typing.SupportsIndex,
        at_ns: typing.SupportsInt | typing.SupportsIndex,
    ) -> None: ...
    def reading_w(
        self, t_ns: typing.SupportsInt | typing.SupportsIndex, average: bool = False
    ) -> tuple[float, int]:
        """
        The reading that stands at a time and when it was published, without faults.
        """
    def set_clock(
        self,
        hz: typing.SupportsFloat | typing.SupportsIndex,
        at_ns: typing.SupportsInt | typing.SupportsIndex,
    ) -> None: ...
    def set_latency(
        self,
        base_ns: typing.SupportsInt | typing.SupportsIndex,
        slow_ns: typing.SupportsInt | typing.SupportsIndex,
        slow_probability: typing.SupportsFloat | typing.SupportsIndex,
    ) -> None: ...
    def set_mig(self, instances: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def set_module_only(self, module_only: bool) -> None: ...
    def set_power(
        self,
        watts: typing.SupportsFloat | typing.SupportsIndex,
        at_ns: typing.SupportsInt | typing.SupportsIndex,
    ) -> None: ...
    def set_power_law(self, alpha: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    def set_processes(
        self,
        processes: collections.abc.Sequence[
            tuple[
                typing.SupportsInt | typing.SupportsIndex,
                typing.SupportsInt | typing.SupportsIndex,
                typing.SupportsInt | typing.SupportsIndex,
                typing.SupportsInt | typing.SupportsIndex,
            ]
        ],
    ) -> None:
        """
        (pid, sm_percent, memory_percent, memory_bytes) each: who works on the card from now on.
        """
    def set_thermal(
        self,
        leak: typing.SupportsFloat | typing.SupportsIndex,
        tau_ns: typing.SupportsInt | typing.SupportsIndex,
    ) -> None: ...
    def square_wave(
        self,
        low_w: typing.SupportsFloat | typing.SupportsIndex,
        high_w: typing.SupportsFloat | typing.SupportsIndex,
        period_ns: typing.SupportsInt | typing.SupportsIndex,
        duty: typing.SupportsFloat | typing.SupportsIndex,
        phase: typing.SupportsFloat | typing.SupportsIndex,
        at_ns: typing.SupportsInt | typing.SupportsIndex,
    ) -> None: ...
    def temperature_c(self, t_ns: typing.SupportsInt | typing.SupportsIndex) -> float: ...
    def true_energies_j(
        self,
        t0_ns: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
        t1_ns: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    ) -> numpy.typing.NDArray[numpy.float64]: ...
    def true_energy_j(
        self,
        t0_ns: typing.SupportsInt | typing.SupportsIndex,
        t1_ns: typing.SupportsInt | typing.SupportsIndex,
    ) -> float: ...
    def true_power_w(self, t_ns: typing.SupportsInt | typing.SupportsIndex) -> float: ...
    def true_powers_w(
        self, t_ns: typing.Annotated[numpy.typing.ArrayLike, numpy.int64]
    ) -> numpy.typing.NDArray[numpy.float64]: ...
    @property
    def info(self) -> dict[str, typing.Any]: ...

class SimWorld:
    """
    A set of simulated GPUs.
    """
    @staticmethod
    def create(path: str) -> SimWorld: ...
    @staticmethod
    def current() -> SimWorld: ...
    @staticmethod
    def open(path: str) -> SimWorld: ...
    def __len__(self) -> int: ...
    def add(self, preset: str) -> int: ...
    def card(self, index: typing.SupportsInt | typing.SupportsIndex) -> SimCard: ...
    @property
    def path(self) -> str: ...

def abandon_collector_after_fork() -> None:
    """
    In a forked child: forget the parent's collector thread.
    """

def add_tail(stream: Stream, recording: Recording, tail: LiveTail) -> bool:
    """
    Let the stream's sampler write the tail too. False: it fills another recording by now, or
    writes as many tails as it can.
    """

def counters(recording: Recording) -> list[tuple[int, float, int, int]]:
    """
    (channel, raw reading, t_ns, read_ns) of each counter whose latest reading is usable.
    """

def enumerate(source: str, argument: str = "") -> SourceReport:
    """
    Look for a source's devices; absence is a report with a reason, never an exception.
    """

def follow(
    recording: Recording,
    places: collections.abc.Sequence[
        tuple[
            str,
            typing.SupportsInt | typing.SupportsIndex,
            typing.SupportsInt | typing.SupportsIndex,
        ]
    ],
) -> LiveFiles:
    """
    Write the recording to new files from now on: (path, seed, first row) of each channel.
    OSError when one cannot be made.
    """

def gpu_use(
    uuid: str, after_us: typing.SupportsInt | typing.SupportsIndex
) -> dict[str, typing.Any]:
    """
    What NVML tells of the processes on a GPU: 'samples' later than `after_us` (us of Unix
    time) as (pid, stamp_us, sm_percent, memory_percent), 'running' pids, 'lists_running',
    and a 'problem' where there can be no samples. pids are the host's. RuntimeError where
    NVML does not load or does not know the GPU.
    """

def live_header(what: str, rows: typing.SupportsInt | typing.SupportsIndex) -> bytes:
    """
    The header of a live file: of 'rows' or of the 'tail'.
    """

def now_ns() -> int:
    """
    Now, int64 ns of CLOCK_MONOTONIC.
    """

def open_channels(info: DeviceInfo) -> list[Channel]:
    """
    Open a device, return what it can read, and close it again.
    """

def pooled_variance(
    first_ns: numpy.ndarray,
    last_ns: numpy.ndarray,
    value: numpy.ndarray,
    *,
    period_ns: typing.SupportsInt | typing.SupportsIndex,
    low_w: typing.SupportsFloat | typing.SupportsIndex,
    high_w: typing.SupportsFloat | typing.SupportsIndex,
    start_ns: typing.SupportsInt | typing.SupportsIndex,
    end_ns: typing.SupportsInt | typing.SupportsIndex,
) -> tuple[numpy.typing.NDArray[numpy.int64], numpy.typing.NDArray[numpy.float64]]:
    """
    (grid_ns, W^2): the variance between neighbouring readings.
    """

def register_replay(
    key: str,
    info: DeviceInfo,
    channels: list[typing.Any],
    t_ns: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    read_ns: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    value: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    channel: typing.Annotated[numpy.typing.ArrayLike, numpy.uint16],
    flags: typing.Annotated[numpy.typing.ArrayLike, numpy.uint32],
) -> None:
    """
    Make a recording known to the source "replay". `channels`: Channel objects or dicts of
    their fields. One element of the arrays per sample: time, SI value, index of its channel.
    """

def remove_tail(stream: Stream, tail: LiveTail) -> None:
    """
    Let the tail be.
    """

def replay_offset_ns(key: str) -> int | None:
    """
    What its latest opening added to the recorded times; None before the first.
    """

def resume_counter(
    recording: Recording,
    channel: typing.SupportsInt | typing.SupportsIndex,
    total: typing.SupportsFloat | typing.SupportsIndex,
    raw: typing.SupportsFloat | typing.SupportsIndex | None,
    moved_ns: typing.SupportsInt | typing.SupportsIndex,
) -> None:
    """
    Go on from a counter's total (SI) where it read `raw`; None: the next reading is a reset.
    """

def resume_run(
    recording: Recording,
    channel: typing.SupportsInt | typing.SupportsIndex,
    run: tuple[
        typing.SupportsInt | typing.SupportsIndex,
        typing.SupportsInt | typing.SupportsIndex,
        typing.SupportsInt | typing.SupportsIndex,
        typing.SupportsInt | typing.SupportsIndex,
        typing.SupportsFloat | typing.SupportsIndex,
        typing.SupportsInt | typing.SupportsIndex,
        typing.SupportsInt | typing.SupportsIndex,
    ],
) -> None:
    """
    Go on behind this run: (t_first_ns, read_first_ns, t_last_ns, read_last_ns, value, count,
    flags).
    """

def resumed_recording(
    channels: list[dict[str, typing.Any]],
    gap_ns: typing.SupportsInt | typing.SupportsIndex,
    slow_gap_ns: typing.SupportsInt | typing.SupportsIndex,
) -> Recording:
    """
    An empty recording of channels given as dicts of their fields, to be filled by hand.
    """

def run_delay() -> tuple[int, int]:
    """
    (ns that this thread has waited for a processor, times that it was given one) since it
    began, as the kernel counts them; (-1, -1) where it does not tell.
    """

def sensor_architectures() -> list[str]:
    """
    Those whose sensors were studied.
    """

def sensor_prior(
    architecture: str,
    source: str,
    update_ns: typing.SupportsInt | typing.SupportsIndex = -1,
    window_ns: typing.SupportsInt | typing.SupportsIndex = -1,
    delay_ns: typing.SupportsInt | typing.SupportsIndex = -1,
) -> SensorPrior:
    """
    Of a channel, from its device's architecture and what is read.
    """

def sim_presets() -> list[str]: ...
def sources() -> list[str]:
    """
    Names of the power sources, best first.
    """

def status_text(source: str, status: typing.SupportsInt | typing.SupportsIndex) -> str:
    """
    What a missing reading's status means, of a channel's source.
    """

def sweep(
    curve: EnergyCurve,
    starts_ns: numpy.ndarray,
    ends_ns: numpy.ndarray,
    weights: numpy.ndarray | None,
    from_ns: typing.SupportsInt | typing.SupportsIndex,
    to_ns: typing.SupportsInt | typing.SupportsIndex,
    static_w: typing.SupportsFloat | typing.SupportsIndex,
    static: str,
) -> SweepResult:
    """
    Share the energy of [from_ns, to_ns] among operations [starts_ns, ends_ns] (int64 ns) by
    weights (float64, or None: equal). static: 'separate', 'busy' or 'all'. ValueError names
    the first operation that ends before it starts or has a weight that cannot be.
    """

def take_anchor(triples: typing.SupportsInt | typing.SupportsIndex = 64) -> tuple[int, int, int]:
    """
    (mono_ns, real_ns, width_ns): at mono_ns of CLOCK_MONOTONIC the Unix clock said real_ns,
    known to width_ns; the narrowest of `triples` attempts.
    """

def take_samples(
    recording: Recording,
    t_ns: numpy.ndarray,
    read_ns: numpy.ndarray,
    value: numpy.ndarray,
    channel: numpy.ndarray,
    flags: numpy.ndarray,
    status: numpy.ndarray,
) -> None:
    """
    Samples as the sampler took them: raw values, one element of the arrays each.
    """

def unfollow(recording: Recording, files: LiveFiles) -> None:
    """
    Write the files no more.
    """

def write_live(recording: Recording) -> None:
    """
    Bring all files that follow the recording up to date.
    """

FLAG_CONTINUES: int = 16
FLAG_ESTIMATE: int = 32
FLAG_GAP_BEFORE: int = 4
FLAG_INVALID: int = 2
FLAG_MISSING: int = 1
FLAG_RESET: int = 8
FLAG_WRAPPED: int = 64
GAIN_U: float = 0.035
LIVE_HEADER: int = 512
OFFSET_U_W: float = 5.0
_C_API: typing.Any
__version__: str
