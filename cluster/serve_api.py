"""Ray Serve's REST API on the dashboard: what shall run, and what does."""

from typing import Any

import httpx

from cluster.ray_head import auth_token

APPLICATIONS = "/api/serve/applications/"
TIMEOUT_S = 60.0


class ServeApiError(Exception):
    """The dashboard refused or did not answer."""


class ServeApi:
    """One cluster's dashboard. Raises `ServeApiError` from every call."""

    def __init__(self, dashboard_url: str) -> None:
        token = auth_token()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.Client(base_url=dashboard_url, headers=headers, timeout=TIMEOUT_S, trust_env=False)
        self._url = dashboard_url

    def deploy(self, schema: dict[str, Any]) -> None:
        """Make the cluster run exactly this. Returns once Serve has accepted it, not once it runs."""
        self._call("PUT", json=schema)

    def applications(self) -> dict[str, Any]:
        """Serve's own account of every application, by name."""
        applications: dict[str, Any] = self._call("GET").json().get("applications", {})
        return applications

    def delete_all_but(self, name: str) -> None:
        """Ask every other application to drain and end; that one goes on as it is, if it is there."""
        told: dict[str, Any] = self._call("GET").json()
        kept = [config for app in told["applications"].values() if (config := app["deployed_app_config"])]
        self.deploy(
            {
                "proxy_location": told["proxy_location"],
                "http_options": told["http_options"],
                "applications": [config for config in kept if config["name"] == name],
            }
        )

    def delete_all(self) -> None:
        """Ask every application to drain and end."""
        self._call("DELETE")

    def _call(self, method: str, **arguments: Any) -> httpx.Response:
        try:
            answer = self._client.request(method, APPLICATIONS, **arguments)
        except httpx.HTTPError as error:
            raise ServeApiError(f"the Ray dashboard at {self._url} does not answer: {error}") from error
        if answer.is_error:
            last = (answer.text.strip() or answer.reason_phrase).splitlines()[-1]
            raise ServeApiError(f"Ray Serve refused ({answer.status_code}): {last}")
        return answer
