"""The dashboards, one a file, and beside each the JSON that Grafana reads: `make dashboards` writes it."""

from monitoring.dashboards import autoscaler, engine, model, overview, tenant

DASHBOARDS = tuple(page.DASHBOARD for page in (overview, model, tenant, engine, autoscaler))
