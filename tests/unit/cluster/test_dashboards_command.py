"""`baryon dashboards export` writes what Grafana and Prometheus read as it is."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from cluster.cli import app
from monitoring.dashboards import DASHBOARDS

ARGUMENTS = ("--prometheus", "http://prom:9090", "--exporter", "http://node:9464/", "--runbook", "https://wiki/runbook")


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    done = CliRunner().invoke(app, ["dashboards", "export", str(tmp_path / "to"), *ARGUMENTS])
    assert done.exit_code == 0, done.output
    return tmp_path / "to"


def test_dashboards_lie_where_their_provisioning_says(exported: Path) -> None:
    provider = yaml.safe_load((exported / "provisioning/dashboards/baryon.yaml").read_text())["providers"][0]
    assert provider["type"] == "file"
    found = {json.loads(path.read_text())["uid"] for path in Path(provider["options"]["path"]).glob("*.json")}
    assert found == {dashboard.uid for dashboard in DASHBOARDS}


def test_addresses_are_filled_in(exported: Path) -> None:
    source = yaml.safe_load((exported / "provisioning/datasources/baryon.yaml").read_text())["datasources"][0]
    assert (source["type"], source["url"]) == ("prometheus", "http://prom:9090")
    scrape = yaml.safe_load((exported / "prometheus.yaml").read_text())["scrape_configs"][0]
    assert scrape["http_sd_configs"] == [{"url": "http://node:9464/sd", "refresh_interval": "30s"}]
    alerts = (exported / "alerts/baryon.yaml").read_text()
    assert "runbook_url: https://wiki/runbook#baryonenginestuck" in alerts
    assert "${" not in (exported / "provisioning/dashboards/baryon.yaml").read_text().replace("#", "")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed: apt-get install prometheus")
def test_prometheus_reads_the_exported_configuration(exported: Path) -> None:
    command = ["promtool", "check", "config", str(exported / "prometheus.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = CliRunner().invoke(app, ["dashboards", "export", str(tmp_path / "file")])
    assert done.exit_code == 2
    assert str(tmp_path / "file") in done.output.replace("\n", "")
