"""envmig dead-letters: what could not be stored for its own sake."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.progress import track

from migration.cli.common import AsCsv, AsJson, Suffix, Target, listing, reporting, stop
from migration.dead_letters import DeadLetters, ReplayFailedError
from migration.deployment import Deployment

app = typer.Typer(no_args_is_help=True, help="Look at the dead letters, and replay them.")

MessageId = Annotated[str, typer.Argument(metavar="ID", help="the message's id")]


@app.command("list")
def list_letters(
    limit: Annotated[int, typer.Option(min=1, help="how many at most")] = 100,
    target: Target = "local",
    suffix: Suffix = "prod",
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List the dead letters, oldest first; each is dropped for good 14 days after it came."""
    with reporting():
        letters = DeadLetters(Deployment.find(target, suffix)).peek(limit)
    now = datetime.now(UTC)
    rows = [{**letter.told(), "left": str(letter.expires - now).partition(".")[0]} for letter in letters]
    for row in rows:
        row.pop("body", None)
        row["events"] = ", ".join(row.get("events", []))
    columns = ["id", "provider", "since", "left", "reason", "events"]
    if not listing(rows, columns, as_json=as_json, as_csv=as_csv):
        print("there are no dead letters")


@app.command()
def show(message_id: MessageId, target: Target = "local", suffix: Suffix = "prod") -> None:
    """Show one dead letter with its body, in which card numbers are masked."""
    with reporting():
        letters = DeadLetters(Deployment.find(target, suffix)).peek(10_000)
    found = next((letter for letter in letters if letter.id == message_id), None)
    if found is None:
        stop(f"there is no dead letter {message_id!r}; `envmig dead-letters list` names those there are")
    print(json.dumps(found.told(), indent=2, ensure_ascii=False))


@app.command()
def replay(
    message_id: Annotated[str | None, typer.Argument(metavar="ID", help="one message; all when left out")] = None,
    rate: Annotated[float, typer.Option(min=0.1, help="messages a second at most")] = 20.0,
    target: Target = "local",
    suffix: Suffix = "prod",
) -> None:
    """Send dead letters through the drain again. What is stored leaves the queue; cut off, it can be run again."""
    stored, failed = 0, []
    with reporting():
        letters = DeadLetters(Deployment.find(target, suffix))
        try:
            for outcome in track(letters.replay(rate, message_id), "replaying", total=None, transient=True):
                if outcome.reason:
                    failed.append(outcome)
                else:
                    stored += 1
        except ReplayFailedError as error:
            stop(str(error))
    if message_id and not stored and not failed:
        stop(f"there is no dead letter {message_id!r}; `envmig dead-letters list` names those there are")
    print(f"{stored} stored, {len(failed)} still dead letters")
    for outcome in failed:
        print(f"  {outcome.letter.id}: {outcome.reason}")
    if failed:
        raise typer.Exit(1)
