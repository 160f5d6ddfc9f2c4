"""`durian keys`: API keys, made on the service's machine in its data directory."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import typer

from app.commands.options import local
from app.commands.output import Columns, CommandError, Output, moment

app = typer.Typer(help="API keys, on this machine's data directory.", no_args_is_help=True)

Role = Literal["reader", "writer", "admin"]
COLUMNS: Columns = {
    "id": lambda key: key["id"],
    "tenant": lambda key: key["tenant"],
    "role": lambda key: key["role"],
    "created": lambda key: moment(key["created_at"]),
    "expires": lambda key: moment(key["expires_at"]) or "never",
    "revoked": lambda key: moment(key["revoked_at"]),
}


@app.command()
@local
def create(
    out: Output,
    tenant: Annotated[str, typer.Option("--tenant", help="Whose key it is.")],
    role: Annotated[Role, typer.Option("--role", help="How far it reaches.")] = "writer",
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="TIME", help="Life of the key: 12h, 30d or 8w.")
    ] = None,
) -> None:
    """Make a key and print it; it is shown this once."""
    key = _admin().create_key(tenant, role, None if expires is None else days_of(expires))
    out.say({"key": key, "tenant": tenant, "role": role}, key)


@app.command("list")
@local
def list_keys(out: Output) -> None:
    """List keys, without their secrets."""
    keys = list(_admin().list_keys())
    out.listing({"object": "list", "data": keys}, keys, COLUMNS)


@app.command()
@local
def revoke(out: Output, key_id: Annotated[str, typer.Argument(metavar="KEY", help="Id of a key.")]) -> None:
    """Make a key worthless, within a second in every process."""
    _admin().revoke_key(key_id)
    out.say({"id": key_id, "revoked": True}, f"revoked {key_id}")


def days_of(time: str) -> float:
    """`12h`, `30d` or `8w` in days. Raises CommandError."""
    match = re.fullmatch(r"(\d{1,5})([hdw])", time)
    if match is None:
        raise CommandError("--expires is a number of hours, days or weeks, such as 12h, 30d or 8w.")
    return int(match[1]) * {"h": 1 / 24, "d": 1.0, "w": 7.0}[match[2]]


def _admin() -> Any:
    from app.admin import open_admin

    return open_admin()
