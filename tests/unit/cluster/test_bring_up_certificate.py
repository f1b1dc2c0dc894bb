"""`baryon up` looks at the certificate before it starts anything."""

from pathlib import Path

import pytest

from cluster.bring_up import BringUpError, check_before_start
from cluster.config import BaryonConfig, GatewayConfig, TlsConfig
from cluster.run_folder import RunFolder


def test_a_certificate_that_is_none_is_said_by_up(tmp_path: Path) -> None:
    (tmp_path / "c.pem").write_text("nonsense")
    tls = TlsConfig(certificate=tmp_path / "c.pem", key=tmp_path / "k.pem")
    config = BaryonConfig(models=[], gateway=GatewayConfig(tls=tls))
    with pytest.raises(BringUpError, match=r"gateway\.tls: .*k\.pem cannot be read"):
        check_before_start(config, RunFolder(tmp_path / "run"))
