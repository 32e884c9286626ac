"""The envmig command: one module a group of commands."""

import typer

from migration.cli import (
    backfill,
    cutover,
    dead_letters,
    look,
    observe,
    rebuild,
    reconcile,
    relay,
    report,
    send,
    validate,
)

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def main() -> None:
    """Look at, and work with, a deployed payment-webhook system."""


app.command()(send.send)
app.command()(look.payment)
app.command()(look.events)
app.command()(look.payments)
app.command()(observe.logs)
app.command()(observe.traces)
app.command()(observe.dashboard)
app.add_typer(dead_letters.app, name="dead-letters")
app.command()(rebuild.rebuild)
app.command()(validate.validate)
app.add_typer(relay.app, name="relay")
app.command()(backfill.backfill)
app.command()(reconcile.reconcile)
app.add_typer(cutover.app, name="cutover")
app.add_typer(report.app, name="report")
