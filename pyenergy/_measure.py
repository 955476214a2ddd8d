# SPDX-License-Identifier: Apache-2.0
"""`measure`, `measure_many`: the energy of a call, to a wanted certainty."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _devices
from ._campaign import Campaign, scale_of
from ._energy import Energy
from ._measure_options import Options, checked_function, checked_functions, name_of
from ._measured import Measured, evaluated
from ._session import Session
from ._trace import Trace
from .config import Sampling
from .errors import OptionError
from .units import engineering

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import polars as pl
    from numpy.typing import NDArray

    from ._blocks import Block
    from ._devices import DevicesLike
    from ._measure_options import Warmup

__all__ = ["Measurement", "Measurements", "measure", "measure_many"]


@dataclass(frozen=True, eq=False)
class Measurement:
    """What a call of a function costs.

    Attributes
    ----------
    name : str
        Of the function.
    energy : Energy
        Per call, idle power included, J. ``energy.u`` holds the card's gain and offset,
        ``energy.u_same_card`` does not.
    net_energy : Energy
        Per call above idle: the power that the function adds, times its time, J.
    time_s, time_u_s, time_sd_s : float
        Mean time of a call, its standard uncertainty, and the standard deviation between blocks, s.
    power_w : float
        Mean power while it runs, W.
    n : int
        Calls that were counted.
    samples : polars.DataFrame
        One row a block: ``start_ns``, ``end_ns`` (ns of CLOCK_MONOTONIC), ``calls``, ``energy_j``.
        Energies of blocks share the errors of one fit: their scatter is not the uncertainty.
    rel : float
        Half-width of the 95 % interval over the energy per call, on the same card.
    converged : bool
        Whether that is as narrow as was asked for.
    notes : tuple of str
        What a reader must know: warm-up, what was not reached and why, the estimate's nature.
    elapsed_s : float
        Time the measurement took, s.
    trace : Trace
        Everything that was read: ``trace.save(path)``.
    """

    name: str
    energy: Energy
    net_energy: Energy
    time_s: float
    time_u_s: float
    time_sd_s: float
    power_w: float
    n: int
    samples: pl.DataFrame
    rel: float
    converged: bool
    notes: tuple[str, ...]
    elapsed_s: float
    trace: Trace

    @property
    def is_estimate(self) -> bool:
        """Whether nothing was read, and the energy comes from load and a table."""
        return any(d.meta.source == "estimate" for d in self.trace.recorded.devices.values())

    def interval(self, level: float = 0.95, *, same_card: bool = True) -> tuple[float, float]:
        """Coverage interval of the energy per call, J; with the card's gain on request.

        Raises
        ------
        OptionError
            When ``level`` is not inside (0, 1).
        """
        energy = replace(self.energy, u=self.energy.u_same_card) if same_card else self.energy
        return energy.interval(level)

    def __str__(self) -> str:
        from .report.measured import render

        return render(self)

    def __repr__(self) -> str:
        state = "" if self.converged else ", not converged"
        return f"<pyenergy.Measurement {self.name}: {self.energy.joules:.4g} J/call{state}>"


class Measurements(Mapping[str, Measurement]):
    """Measurements of several functions made together, by name.

    Attributes
    ----------
    covariance : ndarray of float64, shape (n, n)
        Of the energies per call in the mapping's order, J^2, without the card's gain and offset:
        what one function is given too much, another may have been given too little.
    trace : Trace
        Everything that was read.
    """

    def __init__(self, found: dict[str, Measurement], measured: Measured, trace: Trace) -> None:
        self._found, self._measured, self.trace = found, measured, trace
        self.covariance: NDArray[np.float64] = measured.sums.cov()

    def __getitem__(self, name: str) -> Measurement:
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def total(self, calls: Mapping[str, float] | None = None) -> Energy:
        """Energy of so many calls of each function, such as an iteration of all.

        Parameters
        ----------
        calls : mapping, optional
            Name to number of calls; None: one of each.

        Raises
        ------
        OptionError
            For a name that was not measured.
        """
        calls = dict.fromkeys(self._found, 1.0) if calls is None else calls
        unknown = [name for name in calls if name not in self._found]
        if unknown:
            raise OptionError(f"{unknown[0]!r} was not measured; there are: {', '.join(self)}")
        return self._measured.energy(np.array([float(calls.get(n, 0.0)) for n in self._found]))

    def __str__(self) -> str:
        from .report.measured import render_many

        return render_many(self)

    def __repr__(self) -> str:
        return f"<pyenergy.Measurements of {', '.join(self._found)}>"


def measure(
    fn: Callable[[], object],
    *,
    rel: float = 0.01,
    budget_s: float = 60.0,
    warmup: Warmup = "auto",
    reset: Callable[[], object] | None = None,
    devices: DevicesLike = "auto",
    sync: bool = True,
    seed: int | None = None,
    name: str | None = None,
) -> Measurement:
    """Energy per call of a function, repeated until its 95 % interval is narrow enough.

    Calls run in blocks of random length with random pauses, so that they fall differently on the
    sensor's updates each time, and all readings together tell the energy of a call - from some
    20 us to seconds. What could not be reached is said, with the reason.

    Parameters
    ----------
    fn : callable
        Called without arguments; what it returns is dropped. The device is waited for at the
        edges of a block, not after each call. `mark` inside it does nothing here.
    rel : float
        Wanted half-width of the 95 % interval over the energy per call, comparing on one card: the
        gain of a card that is not calibrated (3.5 %) is not in it, no repetition would narrow it.
    budget_s : float
        Time to spend at most, s; an evaluation of a second or so comes on top, and a call that
        runs is never cut short.
    warmup : {"auto"}, int or None
        ``"auto"``: until time per call and readings settle, at most a fifth of the budget; a
        number of calls; None or 0: none.
    reset : callable, optional
        Runs before every call, outside of what is measured, and now and then by itself, so that
        its own work is told from the calls'. Every call is then a span of its own, which takes
        more calls for the same certainty.
    devices : str, int or list of them
        As in `trace`.
    sync : bool
        Whether to wait for the devices at the edges of a block.
    seed : int, optional
        Of the random lengths; None: different each time.
    name : str, optional
        Label; None: the function's name.

    Returns
    -------
    Measurement
        ``print`` it. Ctrl-C ends the measurement, and what there is by then is returned.

    Raises
    ------
    TypeError, OptionError
        For what cannot be measured, and options that cannot be.
    DeviceError, NoReadingsError
        For devices that do not exist, or gave nothing.
    Exception
        Whatever ``fn`` and ``reset`` raise.

    Examples
    --------
    >>> import pyenergy
    >>> m = pyenergy.measure(lambda: sum(range(1000)), devices="sim:ideal", budget_s=0.5)
    >>> m.n > 0 and m.energy.joules > 0
    True
    """
    options = Options(rel, budget_s, warmup, reset, devices, sync, seed)
    label = name_of(checked_function(fn)) if name is None else name
    return _measured({**checked_functions({label: fn})}, options)[label]


def measure_many(
    functions: Mapping[str, Callable[[], object]],
    *,
    rel: float = 0.01,
    budget_s: float = 60.0,
    warmup: Warmup = "auto",
    reset: Callable[[], object] | None = None,
    devices: DevicesLike = "auto",
    sync: bool = True,
    seed: int | None = None,
) -> Measurements:
    """Energies per call of several functions, identified together.

    As `measure`, with a randomised mixed design: in each round every function has a block of
    random length, in random order, partly without a pause to the next. Whole identical iterations
    could not tell the functions apart. ``reset`` runs before every call of any of them, and the
    budget is for all together.

    Parameters, exceptions
        As in `measure`; ``functions`` is ``{name: fn}``.

    Returns
    -------
    Measurements
        Name to `Measurement`; ``total`` gives sums with the right uncertainty.

    Examples
    --------
    >>> import pyenergy
    >>> both = pyenergy.measure_many(
    ...     {"short": lambda: sum(range(100)), "long": lambda: sum(range(10_000))},
    ...     devices="sim:ideal",
    ...     budget_s=1,
    ... )
    >>> both["short"].energy.joules < both["long"].energy.joules
    True
    """
    options = Options(rel, budget_s, warmup, reset, devices, sync, seed)
    return _measured(checked_functions(functions), options)


def _measured(functions: dict[str, Callable[[], object]], options: Options) -> Measurements:
    """Run the measurement in a session of its own, and evaluate it."""
    from .report.progress import measuring

    names = tuple(functions)
    # Not registered for marks: labels inside a function would be classes of their own.
    session = Session(_devices.resolve(options.devices), Sampling(), options.sync)
    session.open()
    try:
        trace = Trace(session)
        scale_s = scale_of(trace)
        if options.budget_s < 3 * scale_s:
            raise OptionError(
                f"budget_s={options.budget_s:g} is too short for a sensor that speaks of "
                f"{engineering(scale_s, 's')} at a time; give at least {3 * scale_s:.2g}"
            )
        campaign = Campaign(functions, options, session, trace, scale_s)

        def judge(so_far: Trace, blocks: list[Block]) -> dict[str, float]:
            return dict(zip(names, evaluated(so_far, blocks, names).rel(), strict=True))

        with measuring(options.budget_s) as progress:
            campaign.run(judge, progress)
    except BaseException as error:
        session.notes.append(f"ended by {type(error).__name__}")
        raise
    finally:
        session.close()
    measured = evaluated(trace, campaign.blocks, names)
    trace.annotate(measure={"rel": options.rel, "budget_s": options.budget_s})
    found = {name: _of(measured, i, name, campaign, options, trace) for i, name in enumerate(names)}
    return Measurements(found, measured, trace)


def _of(
    measured: Measured, i: int, name: str, campaign: Campaign, options: Options, trace: Trace
) -> Measurement:
    import polars as pl

    own = [b for b in measured.blocks if b.name == name]
    index = [k for k, b in enumerate(measured.blocks) if b.name == name]
    one = np.eye(len(measured.names))[i]
    energy, net = measured.energy(one), measured.energy(one, net=True)
    calls = sum(b.calls for b in own)
    time_s, u_s, sd_s = measured.times[i]
    rel = float(measured.rel()[i])
    converged = rel <= options.rel and len(own) > 1
    notes: list[str] = [n for n in campaign.notes if n.startswith(f"{name}: ") or ": " not in n]
    notes += measured.why(i, options, campaign.elapsed_s) if not converged else []
    notes += measured.drifted(i, own, options.rel)
    if options.reset is not None and time_s < 50e-6:
        notes.append(
            f"{name}: with reset every call is a span of its own; below 50 us that takes many "
            "calls to converge, and the call's own overhead is in it"
        )
    table: dict[str, Any] = {
        "start_ns": [b.start_ns for b in own],
        "end_ns": [b.end_ns for b in own],
        "calls": [b.calls for b in own],
        "energy_j": measured.sums.windows_j[index],
    }
    return Measurement(
        name=name,
        energy=energy,
        net_energy=net,
        time_s=time_s,
        time_u_s=u_s,
        time_sd_s=sd_s,
        power_w=energy.joules / time_s if time_s > 0 else math.nan,
        n=calls,
        samples=pl.DataFrame(table),
        rel=rel,
        converged=converged,
        notes=tuple(notes),
        elapsed_s=campaign.elapsed_s,
        trace=trace,
    )
