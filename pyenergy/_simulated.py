# SPDX-License-Identifier: Apache-2.0
"""The control of one simulated GPU; public as :class:`pyenergy.testing.SimulatedCard`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from . import _core
from .units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import ArrayLike, NDArray

__all__ = ["CardInfo", "SimulatedCard"]

Field = Literal["instant", "average"]

_COUNTER_FAULTS = ("counter_reset", "counter_backwards")


@dataclass(frozen=True)
class CardInfo:
    """What a simulated card is: identity, and power (W) and clock (Hz) bounds."""

    index: int
    preset: str
    name: str
    uuid: str
    pci_bus_id: str
    architecture: str
    idle_w: float
    limit_w: float
    max_clock_hz: float
    alpha: float


def _at(at_ns: int | None) -> int:
    return time.monotonic_ns() if at_ns is None else at_ns


def _ns(duration_s: float | None) -> int | None:
    return None if duration_s is None else round(duration_s * NS_PER_S)


class SimulatedCard:
    """One simulated GPU.

    Whatever starts at ``at_ns`` (``CLOCK_MONOTONIC``; default: now) replaces all that was planned
    from there on. Powers are of the whole board in W, steady, at the top clock and without
    leakage. Arguments that cannot be raise ``ValueError``.
    """

    def __init__(self, core: _core.SimCard) -> None:
        self._core = core

    def __repr__(self) -> str:
        info = self.info
        return f"<SimulatedCard {info.index}: {info.name}, {info.uuid}>"

    @property
    def info(self) -> CardInfo:
        """Identity and bounds."""
        return CardInfo(**self._core.info)

    # The script.

    def set_power(self, watts: float, at_ns: int | None = None) -> None:
        """Draw ``watts`` from then on; below idle is possible, below 0 is not."""
        self._core.set_power(watts, _at(at_ns))

    def ramp(self, from_w: float, to_w: float, duration_s: float, at_ns: int | None = None) -> None:
        """Change evenly from ``from_w`` to ``to_w`` over ``duration_s``, then stay."""
        self._core.ramp(from_w, to_w, round(duration_s * NS_PER_S), _at(at_ns))

    def square_wave(
        self,
        low_w: float,
        high_w: float,
        period_s: float,
        duty: float = 0.5,
        phase: float = 0.0,
        at_ns: int | None = None,
    ) -> None:
        """Alternate: ``high_w`` for the first ``duty`` of each period, ``low_w`` for the rest.

        ``phase`` is the share of a period that has passed at the start.
        """
        period_ns = round(period_s * NS_PER_S)
        self._core.square_wave(low_w, high_w, period_ns, duty, phase, _at(at_ns))

    def script(self, steps: Iterable[tuple[int, float]]) -> None:
        """Constant powers from given times on: ``(t_ns, watts)``, with times increasing."""
        last: int | None = None
        for t_ns, watts in steps:
            if last is not None and t_ns <= last:
                raise ValueError(f"script times must increase, but {t_ns} follows {last}")
            self._core.set_power(watts, t_ns)
            last = t_ns

    def set_clock(self, hz: float, at_ns: int | None = None) -> None:
        """Run at ``hz`` from then on: what is above idle scales with ``(hz / top)**alpha``."""
        self._core.set_clock(hz, _at(at_ns))

    def power_law(self, alpha: float) -> None:
        """Set the exponent of the clock in the power above idle."""
        self._core.set_power_law(alpha)

    def thermal(self, k: float, tau_s: float) -> None:
        """Leak ``k`` W per W of load, low-passed by ``tau_s``: the drift of a warming card."""
        self._core.set_thermal(k, round(tau_s * NS_PER_S))

    # The sensors.

    def configure(
        self,
        field: Field = "instant",
        *,
        present: bool = True,
        update_s: float | None = None,
        phase_s: float | None = None,
        jitter_s: float | None = None,
        window_s: float | None = None,
        response: Literal["boxcar", "rc"] | None = None,
        delay_s: float | None = None,
        gain: float | None = None,
        offset_w: float | None = None,
        noise_w: float | None = None,
        quantum_w: float | None = None,
    ) -> None:
        """Change a power sensor; what is not given stays.

        Parameters
        ----------
        field : {"instant", "average"}
            Which of the two readings.
        present : bool
            Whether the card has it.
        update_s : float
            Period of its updates in s; 0: every read is fresh.
        phase_s : float
            Time of one of its updates in s of ``CLOCK_MONOTONIC``.
        jitter_s : float
            Width in s of the even distribution of each update about its time.
        window_s : float
            Width of the boxcar, or time constant of the RC, in s; 0: the power itself.
        response : {"boxcar", "rc"}
            What it averages.
        delay_s : float
            Age of what it averages when published, in s.
        gain, offset_w : float
            The reading is ``gain * power + offset_w``.
        noise_w : float
            Standard deviation of its noise in W, the same at every repetition.
        quantum_w : float
            Step of its readings in W; 0: none.
        """
        if field not in ("instant", "average"):
            raise ValueError(f"no power field is called {field!r}; there are: instant, average")
        self._core.configure(
            field == "average",
            present=present,
            response=response,
            update_ns=_ns(update_s),
            phase_ns=_ns(phase_s),
            jitter_ns=_ns(jitter_s),
            window_ns=_ns(window_s),
            delay_ns=_ns(delay_s),
            gain=gain,
            offset_w=offset_w,
            noise_w=noise_w,
            quantum_w=quantum_w,
        )

    def configure_counter(
        self,
        *,
        present: bool = True,
        integrates: Literal["truth", "sensor"] | None = None,
        period_s: float | None = None,
        phase_s: float | None = None,
        epoch_ns: int | None = None,
        gain: float | None = None,
        start_j: float | None = None,
        quantum_j: float | None = None,
        modulus_j: float | None = None,
    ) -> None:
        """Change the energy counter; what is not given stays.

        It shows ``start_j`` at ``epoch_ns`` and ``gain`` times the energy counted since, at its
        latest update (every ``period_s``; 0: always), in steps of ``quantum_j`` (at least 1 mJ),
        and wraps at ``modulus_j`` (0: never).

        What it counts: the true energy when it ``integrates`` the ``"truth"``; with ``"sensor"``,
        at each update of the instant field, that reading (faults apart, whether or not the field
        is present) times the time since the update before. Such a counter needs a field with
        ``update_s`` above 0; ``ValueError`` otherwise, here and in :meth:`configure`. Its first
        read adds up all readings since ``epoch_ns`` (some 10 million per second; the presets'
        epoch is time 0): on a host that is long up, give an epoch just before the test.
        """

        def millijoules(joules: float | None) -> float | None:
            return None if joules is None else float(round(joules * 1e3))

        self._core.configure_counter(
            present=present,
            integrates=integrates,
            update_ns=_ns(period_s),
            phase_ns=_ns(phase_s),
            epoch_ns=epoch_ns,
            gain=gain,
            start_mj=millijoules(start_j),
            quantum_mj=millijoules(quantum_j),
            modulus_mj=millijoules(modulus_j),
        )

    def set_latency(
        self, base_s: float = 0.0, slow_s: float = 0.0, slow_probability: float = 0.0
    ) -> None:
        """Let every driver call last ``base_s``, and a rare one ``slow_s``."""
        self._core.set_latency(round(base_s * NS_PER_S), round(slow_s * NS_PER_S), slow_probability)

    def superchip(self, on: bool = True) -> None:
        """Let power be readable by field at module scope only, as on superchips."""
        self._core.set_module_only(on)

    def set_mig(self, instances: int) -> None:
        """Split the card into MIG instances; 0: MIG is off."""
        self._core.set_mig(instances)

    def set_processes(self, processes: Iterable[tuple[int, float]]) -> None:
        """Who works on the card from now on: ``(pid, share of the time with a kernel running)``.

        At most 16, known to the percent. One whose share is 0 holds a context and no more.
        """
        self._core.set_processes(
            [(pid, round(share * 100), 0, 1 << 30) for pid, share in processes]
        )

    # What goes wrong.

    def inject(
        self,
        fault: str,
        target: str | int | None = None,
        *,
        every: int | None = None,
        once: bool = False,
        from_ns: int | None = None,
        value: float | None = None,
    ) -> None:
        """Let something go wrong, until :meth:`clear_faults`.

        Parameters
        ----------
        fault : str
            ``fails`` (value: the ``nvmlReturn``, default 999), ``not_supported``, ``gpu_lost``,
            ``driver_not_loaded``, ``slow_call`` (value: s), ``negative`` and ``absurd`` (value:
            W), ``nan``, ``counter_reset``, ``counter_backwards`` (value: J).
        target : str or int, optional
            A group of driver calls (``"fields"``, ``"power"``, ``"energy"``, ``"clock"``, ...) or
            an NVML field id (186, 185, 83); default: all that the fault can befall.
        every : int, optional
            Every so many calls; default: each.
        once : bool
            Only the first time.
        from_ns : int, optional
            From this time on; default: always, or for the counter's faults now.
        """
        if from_ns is None and fault in _COUNTER_FAULTS:
            from_ns = time.monotonic_ns()
        self._core.inject(fault, target, every=every, once=once, from_ns=from_ns, value=value)

    def clear_faults(self) -> None:
        """Mend all."""
        self._core.clear_faults()

    def calls(self, name: str) -> int:
        """How often a group of driver calls was made, by any process."""
        return self._core.calls(name)

    # The truth.

    def true_energy_j(self, t0_ns: int, t1_ns: int) -> float:
        """Energy in J that the card used between two times."""
        return self._core.true_energy_j(t0_ns, t1_ns)

    def true_energies_j(self, t0_ns: ArrayLike, t1_ns: ArrayLike) -> NDArray[np.float64]:
        """:meth:`true_energy_j` of many windows."""
        starts = np.ascontiguousarray(t0_ns, dtype=np.int64)
        ends = np.ascontiguousarray(t1_ns, dtype=np.int64)
        return self._core.true_energies_j(starts, ends)

    def true_power_w(self, t_ns: int) -> float:
        """Power in W at a time."""
        return self._core.true_power_w(t_ns)

    def true_powers_w(self, t_ns: ArrayLike) -> NDArray[np.float64]:
        """:meth:`true_power_w` at many times."""
        return self._core.true_powers_w(np.ascontiguousarray(t_ns, dtype=np.int64))

    def reading_w(self, t_ns: int, field: Field = "instant") -> tuple[float, int]:
        """The reading that stands at a time, faults apart, and when it was published (ns)."""
        return self._core.reading_w(t_ns, field == "average")

    def counter_j(self, t_ns: int) -> float:
        """What the energy counter shows at a time, its faults included."""
        return self._core.counter_mj(t_ns) * 1e-3

    def temperature_c(self, t_ns: int) -> float:
        """Temperature in °C at a time."""
        return self._core.temperature_c(t_ns)
