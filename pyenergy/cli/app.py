# SPDX-License-Identifier: Apache-2.0
"""Registration only: which verb lives where."""

from __future__ import annotations

import typer

from . import (
    attach,
    calibrate,
    demo,
    devices,
    doctor,
    export,
    import_log,
    kernels,
    recover,
    report,
    run,
    show,
)

__all__ = ["app"]

app = typer.Typer(
    name="pyenergy",
    help="Joules you can trust: GPU and CPU energy, each figure with its uncertainty.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("devices")(devices.command)
app.command("doctor")(doctor.command)
app.command("run", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(
    run.command
)
app.command("show")(show.command)
app.command("kernels")(kernels.command)
app.command("attach")(attach.command)
app.command("recover")(recover.command)
app.command("export")(export.command)
app.command("report")(report.command)
app.command("import")(import_log.command)
app.command("calibrate")(calibrate.command)
app.command("demo")(demo.command)


@app.callback(invoke_without_command=True)
def version(
    show_version: bool = typer.Option(False, "--version", help="Print the version."),
) -> None:
    if show_version:
        from .. import __version__

        typer.echo(f"pyenergy {__version__}")
        raise typer.Exit
