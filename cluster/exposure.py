"""An address that other machines reach needs keys: without any, a cluster does not open it."""

from cluster.config import GatewayConfig
from deployments.gateway.local_address import is_local


class NobodyMayCall(Exception):
    """Keys are needed and there is none; the message says how to go on."""


def check_keys(gateway: GatewayConfig, *, keys_exist: bool) -> None:
    """Raises:
    NobodyMayCall: the gateway would have to refuse everybody.
    """
    if keys_exist or (is_local(gateway.host) and gateway.require_keys == "auto"):
        return
    if is_local(gateway.host):
        why, otherwise = "gateway.require_keys is 'always'", "leave it 'auto'"
    else:
        why, otherwise = f"gateway.host is {gateway.host}, which other machines reach", "listen on 127.0.0.1"
    raise NobodyMayCall(
        f"{why}, and there is no API key yet. Make one first, which needs no running cluster: "
        f"`baryon keys create --tenant NAME` (with `--config FILE` if the file sets state.path). Or {otherwise}."
    )
