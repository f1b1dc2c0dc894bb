"""`baryon keys`: who may call, and how much."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from cluster.commands.desk import Config, Json, desk_of, understood
from cluster.commands.key_tables import condition, keys_table, shown_time, tenants_table
from cluster.commands.key_words import duration_s, instant_s, key_id_of, settings_said
from cluster.commands.output import BAD_INPUT, console, fail, print_json
from deployments.gateway.tenants.api_key import fingerprint, new_api_key
from deployments.gateway.tenants.tenant import Privacy, ShowText
from deployments.key_changes import CreateKey, KeyChange, RevokeKey, RotateKey, SetLimits

keys = typer.Typer(help="API keys and what their tenants may do.", no_args_is_help=True)

Limit = Annotated[str | None, typer.Option(metavar="N|none", help="For each model apart, over all gateways.")]
Priority = Annotated[
    int | None, typer.Option(min=-1000, max=1000, help="Of those who wait, a higher one goes first; 0 unless said.")
]
Models = Annotated[
    list[str] | None, typer.Option("--model", help="One it may ask for; again for more. Without any: all.")
]
PrivacySaid = Annotated[
    Privacy | None,
    typer.Option(
        "--privacy",
        help="Take e-mail addresses, phone and card numbers, IBANs and IP addresses out of its requests; `restore` "
        "also puts them back into the answers. off unless said.",
    ),
]
ShowTextSaid = Annotated[
    ShowText | None,
    typer.Option(
        "--show-text",
        help="Whether the console shows what its latest requests said and were answered, to whoever may open it; with "
        "--privacy as the model saw it. Kept in gateways' memory only. off unless said.",
    ),
]
Expires = Annotated[
    str | None, typer.Option("--expires", metavar="90d|DATE", help="After 12h, 90d, ..., or on 2027-01-31.")
]


@keys.command()
def create(
    tenant: Annotated[str, typer.Option("--tenant", help="Whose key; made if it does not exist yet.")],
    requests_per_minute: Limit = None,
    tokens_per_minute: Limit = None,
    concurrent_requests: Annotated[str | None, typer.Option("--concurrent", metavar="N|none")] = None,
    tokens_per_day: Limit = None,
    priority: Priority = None,
    model: Models = None,
    privacy: PrivacySaid = None,
    show_text: ShowTextSaid = None,
    expires: Expires = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Make a key. It is shown once: only what recognises it is kept.

    Example: baryon keys create --tenant acme --requests-per-minute 600 --expires 90d
    """
    limits = (requests_per_minute, tokens_per_minute, concurrent_requests, tokens_per_day)
    key_id, key = new_api_key()
    with understood():
        settings = settings_said(limits, priority, model, privacy, show_text, all_models=False)
        change = CreateKey(tenant, key_id, fingerprint(key.encode()), _expiry(expires), settings)
    _show_once(key, _carried_out(change, config), json)


@keys.command("list")
def list_keys(
    everything: Annotated[bool, typer.Option("--all", help="Those too that are revoked or expired.")] = False,
    config: Config = None,
    json: Json = False,
) -> None:
    """Keys by their ids, and what each tenant may do.

    Example: baryon keys list
    """
    with desk_of(config) as desk:
        listing = desk.listing()
    now_s = time.time()
    shown = [{**key, "is": condition(key, now_s)} for key in listing["keys"]]
    shown = [key for key in shown if everything or key["is"] == "good"]
    if json:
        print_json({"keys": shown, "tenants": listing["tenants"]})
        return
    if not listing["keys_exist"]:
        console.print("No key yet: anyone on this machine may call. `baryon keys create --tenant NAME` makes one.")
        return
    console.print(keys_table(shown))
    console.print(tenants_table(listing["tenants"]))


@keys.command()
def rotate(
    key: Annotated[str, typer.Argument(help="The id of the key to replace.")],
    grace: Annotated[str, typer.Option(metavar="1h", help="How long the old one lives on; 0: not at all.")] = "1h",
    expires: Expires = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Make a new key for the tenant of an old one, which lives on for a while. Unless --expires says otherwise, the new
    one lives as long as the old one was made for.

    Example: baryon keys rotate 0123456789abcdef --grace 1h
    """
    new_id, new_key = new_api_key()
    with understood():
        change = RotateKey(key_id_of(key), new_id, fingerprint(new_key.encode()), duration_s(grace), _expiry(expires))
    _show_once(new_key, _carried_out(change, config), json)


@keys.command()
def revoke(
    key: Annotated[str, typer.Argument(help="The id of the key.")], config: Config = None, json: Json = False
) -> None:
    """End a key. Every gateway refuses it within two seconds.

    Example: baryon keys revoke 0123456789abcdef
    """
    with understood():
        change = RevokeKey(key_id_of(key))
    made = _carried_out(change, config)
    if json:
        print_json(made)
    else:
        console.print(f"The key {made['id']} of {made['tenant']} is revoked.")


@keys.command()
def limit(
    tenant: Annotated[str, typer.Argument()],
    requests_per_minute: Limit = None,
    tokens_per_minute: Limit = None,
    concurrent_requests: Annotated[str | None, typer.Option("--concurrent", metavar="N|none")] = None,
    tokens_per_day: Limit = None,
    priority: Priority = None,
    model: Models = None,
    privacy: PrivacySaid = None,
    show_text: ShowTextSaid = None,
    all_models: Annotated[bool, typer.Option("--all-models", help="It may ask for every model.")] = False,
    config: Config = None,
    json: Json = False,
) -> None:
    """Change what a tenant may do. What is not named stays as it is.

    Example: baryon keys limit acme --tokens-per-minute 200000 --requests-per-minute none --privacy restore
    """
    limits = (requests_per_minute, tokens_per_minute, concurrent_requests, tokens_per_day)
    with understood():
        settings = settings_said(limits, priority, model, privacy, show_text, all_models=all_models)
    if not settings:
        fail("nothing to change; for example `--requests-per-minute 600`, or `none` for no limit", BAD_INPUT)
    made = _carried_out(SetLimits(tenant, settings), config)
    if json:
        print_json(made)
    else:
        console.print(tenants_table([{**made, "name": made["tenant"]}]))


def _carried_out(change: KeyChange, config: Path | None) -> dict[str, Any]:
    with desk_of(config) as desk:
        return desk.change(change)


def _expiry(words: str | None) -> float | None:
    return None if words is None else instant_s(words, time.time())


def _show_once(key: str, made: dict[str, Any], json: bool) -> None:
    if json:
        print_json({"key": key, **made})
        return
    until = f", until {shown_time(made['expires_at_s'])}" if made["expires_at_s"] is not None else ""
    console.print(f"[bold]{key}[/bold]", soft_wrap=True)
    console.print(f"The key of {made['tenant']} with the id {made['id']}{until}. It is not shown again.")
