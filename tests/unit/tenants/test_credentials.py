"""Whatever comes in a header, it is a key of ours or it is not; nothing else happens."""

from hypothesis import given
from hypothesis import strategies as st

from deployments.gateway.errors import GatewayError
from deployments.gateway.tenants.api_key import id_of
from deployments.gateway.tenants.door import credential
from deployments.gateway.tenants.keyring import Keyring
from deployments.gateway.tenants.tenant import Tenant
from tests.unit.gateway.keys import keyring_of, new_key, page

KEY = new_key()
RING = keyring_of({KEY: Tenant("acme")})


@given(st.binary(max_size=200))
def test_any_other_bytes_are_nobodys_key(given: bytes) -> None:
    assert RING.tenant_of(given, 0.0) is None


@given(st.integers(0, len(KEY) - 1), st.binary(max_size=1))
def test_a_key_of_which_one_character_is_wrong_or_missing_is_nobodys(at: int, instead: bytes) -> None:
    changed = KEY.encode()[:at] + instead + KEY.encode()[at + 1 :]
    assert (RING.tenant_of(changed, 0.0) is not None) == (changed == KEY.encode())


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_any_two_headers_are_read_or_refused(authorization: bytes, x_api_key: bytes) -> None:
    try:
        found = credential({b"authorization": authorization, b"x-api-key": x_api_key})
    except GatewayError as error:
        assert error.status == 400
    else:
        assert found == x_api_key.strip()


def test_a_key_ends_at_the_second_it_expires() -> None:
    keyring = Keyring()
    keyring.adopt(page({KEY: Tenant("acme")}, expires_at_s=10.0))
    assert keyring.tenant_of(KEY.encode(), 9.999) is not None
    assert keyring.tenant_of(KEY.encode(), 10.0) is None


def test_keys_can_be_recognised_by_who_scans_for_secrets() -> None:
    keys = {new_key() for _ in range(1_000)}
    assert len({id_of(key.encode()) for key in keys}) == 1_000
    assert {(key[:7], len(key)) for key in keys} == {("baryon_", 67)}
