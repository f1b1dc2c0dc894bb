"""Whatever is done to keys, a gateway that follows page by page lets in exactly those it should."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from deployments import key_store
from deployments.gateway.tenants.api_key import fingerprint, new_api_key
from deployments.gateway.tenants.keyring import Keyring
from deployments.gateway.tenants.tenant import Limits
from deployments.key_administration import KeyRefused
from deployments.key_changes import CreateKey, RevokeKey, RotateKey, SetLimits
from deployments.key_store import KeyStore

TENANTS = st.sampled_from(["a", "b", "c"])


class Following(RuleBasedStateMachine):
    """A store, two gateways of which one lags, and what ought to be."""

    keys = Bundle("keys")

    @initialize(page=st.integers(1, 4))
    def begin(self, page: int) -> None:
        self.patched = pytest.MonkeyPatch()
        self.patched.setattr(key_store, "REVISIONS_PER_PAGE", page)
        self.folder = TemporaryDirectory()
        self.now_s = 1_000.0
        self.store = KeyStore(Path(self.folder.name) / "state.sqlite", lambda: self.now_s)
        self.keyring, self.laggard = Keyring(), Keyring()
        self.good: dict[str, tuple[str, float | None]] = {}
        self.ended: set[str] = set()
        self.limits: dict[str, int | None] = {}

    @rule(target=keys, tenant=TENANTS, lives_s=st.none() | st.integers(1, 50))
    def create(self, tenant: str, lives_s: int | None) -> str:
        key_id, key = new_api_key()
        expires = None if lives_s is None else self.now_s + lives_s
        self.store.carry_out(CreateKey(tenant, key_id, fingerprint(key.encode()), expires), "me")
        self.good[key] = (tenant, expires)
        self.limits.setdefault(tenant, None)
        return key

    @rule(target=keys, old=consumes(keys), grace_s=st.integers(0, 30))
    def rotate(self, old: str, grace_s: int) -> object:
        key_id, key = new_api_key()
        change = RotateKey(old.split("_")[1], key_id, fingerprint(key.encode()), float(grace_s))
        if old in self.ended:
            with pytest.raises(KeyRefused):
                self.store.carry_out(change, "me")
            return multiple()
        self.store.carry_out(change, "me")
        tenant, expires = self.good[old]
        self.good[key] = (tenant, None)
        if grace_s:
            self.good[old] = (tenant, min(self.now_s + grace_s, expires if expires is not None else 1e9))
        else:
            self._end(old)
        return multiple(key, old)

    @rule(key=keys)
    def revoke(self, key: str) -> None:
        self.store.carry_out(RevokeKey(key.split("_")[1]), "me")
        self._end(key)

    @rule(tenant=TENANTS, count=st.none() | st.integers(1, 9))
    def limit(self, tenant: str, count: int | None) -> None:
        change = SetLimits(tenant, {"requests_per_minute": count})
        if tenant not in self.limits:
            with pytest.raises(KeyRefused):
                self.store.carry_out(change, "me")
            return
        self.store.carry_out(change, "me")
        self.limits[tenant] = count

    @rule(seconds=st.integers(1, 20))
    def wait(self, seconds: int) -> None:
        self.now_s += seconds

    @rule()
    def state_restarts(self) -> None:
        """Gateways begin anew when they next hear of it, and go on with what they have till then."""
        self.keyring.version = ""

    @rule()
    def laggard_hears_a_page(self) -> None:
        self._hear(self.laggard)

    @invariant()
    def who_follows_lets_in_who_should_come_in(self) -> None:
        if not hasattr(self, "store"):
            return
        while self._hear(self.keyring):
            pass
        self._check(self.keyring)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            while self._hear(self.laggard):
                pass
            self._check(self.laggard)
            self.store.close()
            self.folder.cleanup()
            self.patched.undo()

    def _end(self, key: str) -> None:
        self.good.pop(key, None)
        self.ended.add(key)

    def _hear(self, keyring: Keyring) -> bool:
        page = self.store.page_after(int(keyring.version.partition(".")[2] or 0), "e")
        keyring.adopt(page)
        return not page.is_last

    def _check(self, keyring: Keyring) -> None:
        for key, (name, expires) in self.good.items():
            tenant = keyring.tenant_of(key.encode(), self.now_s)
            if expires is not None and self.now_s >= expires:
                assert tenant is None
            else:
                assert tenant is not None
                assert (tenant.name, tenant.limits) == (name, Limits(requests_per_minute=self.limits[name]))
        assert all(keyring.tenant_of(key.encode(), self.now_s) is None for key in self.ended)
        assert keyring.keys_exist == bool(self.good or self.ended)


TestFollowing = Following.TestCase
TestFollowing.settings = settings(
    max_examples=25, stateful_step_count=15, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
