"""What an operator may set for a gateway while it runs."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """Times in seconds, sizes in bytes. `first_token_timeout_s` bounds the wait for an engine's first byte.

    A stream that waits for a replica is told so after `first_word_s`, and again every `word_period_s`.

    Where all replicas of a model are busy, `queue_max_waiting` requests wait for them, each `queue_max_wait_s` at most.

    A gateway that leaves keeps a silent connection for `last_keep_alive_s`: httpx and OpenAI's client, which use one
    again for 5 s, then never meet one that closes under their request.

    `max_n`: answers to one request. `extra_body_fields`: what clients may send beside what `body_rules` takes.
    `media_hosts`: from where images and the like may be fetched. `cors_origins`: whose pages may call from a browser.
    `recipes_folder`: of the operator's own recipes. `recipes_model`: for recipes that name none.
    `require_keys`: auto: as soon as there is a key, and on an address that other machines reach; or always.
    `keys_good_for_s`: how long without a word of state, which may have revoked some; None: until it is back.

    Of tenants with redaction: `phone_regions` whose numbers are found without a country's code, and `names_model` at
    `names_url`, which is asked for names of people; "": nobody is.
    """

    connect_timeout_s: float = 2.0
    first_token_timeout_s: float = 300.0
    idle_stream_timeout_s: float = 120.0
    request_timeout_s: float = 30.0
    keep_alive_s: float = 75.0
    last_keep_alive_s: float = 6.0
    max_body_bytes: int = 8 * 1024 * 1024
    max_head_bytes: int = 32 * 1024
    first_word_s: float = 3.0
    word_period_s: float = 10.0
    queue_max_wait_s: float = 60.0
    queue_max_waiting: int = 1024
    max_n: int = 8
    extra_body_fields: Collection[str] = ()
    media_hosts: Collection[str] = ()
    cors_origins: Collection[str] = ()
    recipes_folder: str | None = None
    recipes_model: str | None = None
    require_keys: Literal["auto", "always"] = "auto"
    keys_good_for_s: float | None = None
    phone_regions: Collection[str] = ("US",)
    names_url: str = ""
    names_model: str = ""
