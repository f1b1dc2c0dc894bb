"""`baryon.yaml`: what is served, and how. Unknown keys are refused."""

import re
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from deployments.gateway.local_address import is_local
from engine.arguments import problem_with
from engine.weights.source import SourceError, parse_source

RESERVED_APPLICATIONS = frozenset({"gateway", "state"})
THIS_NODE = "this-node"
MIB = 1024 * 1024


class Section(BaseModel):
    """A mapping in the file. Keys that are not listed are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TlsConfig(Section):
    """PEM files: the certificate with its chain, and its key. Looked at again every second."""

    certificate: Path
    key: Path


class GatewayConfig(Section):
    """The endpoint. `processes` gateways share the port. Times in seconds.

    `queue_…`: how long a request waits while all replicas are busy, and how many wait at each gateway and model.
    `max_n`: answers to one request. `extra_body_fields`: what clients may send beside what the gateway knows.
    `media_hosts`: from where it may fetch images and the like, by https. `cors_origins`: of web pages that may call.
    `require_keys`: auto: as soon as there is a key, and where other machines reach `host`; or always.
    `keys_good_for_s`: while state, which may have revoked some, is away; null: until it is back.
    `phone_regions`, `names_url`, `names_model`: what tenants with redaction have found beside the rest.
    `recipes_folder`: YAML files of your own recipes. `recipes_model`: for recipes that name none.
    `admin_port`: of the console, on this machine alone; 0: none.
    """

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=1, le=65535)
    processes: int = Field(1, ge=1, le=64)
    connect_timeout_s: float = Field(2.0, gt=0)
    first_token_timeout_s: float = Field(300.0, gt=0)
    idle_stream_timeout_s: float = Field(120.0, gt=0)
    request_timeout_s: float = Field(30.0, gt=0)
    max_body_bytes: int = Field(8 * MIB, ge=1024)
    queue_max_wait_s: float = Field(60.0, ge=0)
    queue_max_waiting: int = Field(1024, ge=0)
    max_n: int = Field(8, ge=1, le=1024)
    extra_body_fields: list[str] = Field(default_factory=list)
    media_hosts: list[str] = Field(default_factory=list)
    cors_origins: list[str] = Field(default_factory=list)
    require_keys: Literal["auto", "always"] = "auto"
    keys_good_for_s: float | None = Field(None, ge=60)
    phone_regions: list[str] = Field(default_factory=lambda: ["US"])
    names_url: str = ""
    names_model: str = ""
    recipes_folder: str | None = None
    recipes_model: str | None = None
    tls: TlsConfig | None = None
    admin_host: str = "127.0.0.1"
    admin_port: int = Field(8001, ge=0, le=65535)

    @field_validator("admin_host")
    @classmethod
    def _admin_is_for_this_machine(cls, host: str) -> str:
        if not is_local(host):
            raise ValueError(
                f"the console asks for no key, so it listens on loopback only, and {host!r} is not. Reach it from "
                "elsewhere by `ssh -L 8001:127.0.0.1:8001 HOST` or `kubectl port-forward POD 8001`"
            )
        return host

    @model_validator(mode="after")
    def _ports_differ(self) -> "GatewayConfig":
        if self.admin_port == self.port:
            raise ValueError(f"admin_port and port are both {self.port}")
        return self

    @field_validator("phone_regions")
    @classmethod
    def _regions_are_known(cls, regions: list[str]) -> list[str]:
        from phonenumbers import SUPPORTED_REGIONS

        for region in regions:
            if region not in SUPPORTED_REGIONS:
                raise ValueError(f"{region!r} is no country as ISO 3166 writes it, like US, GB or DE")
        return regions

    @field_validator("names_url")
    @classmethod
    def _names_are_at_a_url(cls, url: str) -> str:
        if url and not re.fullmatch(r"https?://[\w.:\[\]-]+(/[\w./-]*)?", url):
            raise ValueError(f"{url!r} is not like http://127.0.0.1:8000 (without /v1)")
        return url

    @model_validator(mode="after")
    def _names_have_a_model(self) -> "GatewayConfig":
        if bool(self.names_url) != bool(self.names_model):
            raise ValueError("names_url and names_model go together: where the model is that finds names, and its name")
        return self

    @field_validator("extra_body_fields")
    @classmethod
    def _salt_is_the_gateways(cls, names: list[str]) -> list[str]:
        if "cache_salt" in names:
            raise ValueError("cache_salt is set by the gateway: it keeps tenants out of each other's prefix cache")
        return names

    @field_validator("recipes_folder")
    @classmethod
    def _folder_is_the_same_from_everywhere(cls, folder: str | None) -> str | None:
        return str(Path(folder).absolute()) if folder else None

    @field_validator("media_hosts")
    @classmethod
    def _hosts_are_names(cls, hosts: list[str]) -> list[str]:
        for host in hosts:
            if not re.fullmatch(r"(?=.*[a-zA-Z])[\w-]+(\.[\w-]+)+", host):
                raise ValueError(f"{host!r} is not the name of a host, like images.example.com")
        return [host.lower() for host in hosts]

    @field_validator("cors_origins")
    @classmethod
    def _origins_are_origins(cls, origins: list[str]) -> list[str]:
        for origin in origins:
            if origin != "*" and not re.fullmatch(r"[a-z][a-z+.-]*://[\w.:\[\]-]+", origin, re.IGNORECASE):
                raise ValueError(f"{origin!r} is not an origin, like https://chat.example.com (no path, no slash)")
        return [origin.lower() for origin in origins]


class Replicas(Section):
    """How many replicas of a model: at least `min`, at most `max`. With `min: 0` a request wakes it."""

    min: int = Field(1, ge=0)
    max: int = Field(1, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _max_follows_min(cls, value: Any) -> Any:
        if isinstance(value, dict) and "max" not in value and isinstance(value.get("min"), int):
            return {**value, "max": max(1, value["min"])}
        return value

    @model_validator(mode="after")
    def _ordered(self) -> "Replicas":
        if self.max < self.min:
            raise ValueError(f"max ({self.max}) is smaller than min ({self.min})")
        return self


class Slo(Section):
    """What clients are promised: time to first token, and time per output token after it, in milliseconds."""

    ttft_ms: float = Field(2000, gt=0)
    tpot_ms: float = Field(100, gt=0)


class Wake(Section):
    """What happens to requests of a model that is at zero: how long each waits for a replica, and how many at once."""

    max_wait_s: float = Field(300, gt=0)
    max_waiting: int = Field(64, ge=1)


class ModelConfig(Section):
    """One model. `engine_args` are vLLM's own, checked against its argument list.

    Of models that want the same GPUs, one with a higher `priority` goes first. `node_group`: the worker group of the
    Helm chart whose nodes replicas run on.
    """

    name: str = Field(min_length=1, max_length=200)
    source: str = ""
    engine: Literal["vllm", "simulated"] = "vllm"
    profile: str | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    tensor_parallel_size: int = Field(1, ge=1)
    pipeline_parallel_size: int = Field(1, ge=1)
    nodes_per_replica: int | None = Field(None, ge=1)
    node_group: str | None = Field(None, pattern=r"^[a-z]([a-z0-9-]{0,40}[a-z0-9])?$")
    replicas: Replicas = Replicas()
    wake: Wake = Wake()
    priority: int = 0
    slo: Slo = Slo()
    max_in_flight: int = Field(256, ge=1)
    cpus_per_replica: float | None = Field(None, gt=0)
    kv_cache_gib: float | None = Field(None, gt=0)
    start_timeout_s: float = Field(1800, gt=0)
    hang_timeout_s: float = Field(120, ge=5)
    drain_timeout_s: float = Field(60, ge=0)
    engine_args: dict[str, Any] = Field(default_factory=dict)

    @field_validator("name")
    @classmethod
    def _name_is_usable(cls, name: str) -> str:
        if not re.fullmatch(r"[\w./:@+-]+", name):
            raise ValueError("a model's name has letters, digits and . / : @ + - _ only")
        if application_name(name) in RESERVED_APPLICATIONS:
            raise ValueError(f"the name is reserved for Baryon's own application {application_name(name)!r}")
        return name

    @field_validator("source")
    @classmethod
    def _source_is_known(cls, source: str) -> str:
        if source:
            try:
                parse_source(source)
            except SourceError as error:
                raise ValueError(str(error)) from None
        return source

    @field_validator("engine_args")
    @classmethod
    def _engine_args_are_vllms(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        problems = [f"{name} {problem}" for name, value in arguments.items() if (problem := problem_with(name, value))]
        if problems:
            raise ValueError("; ".join(problems))
        return arguments

    @model_validator(mode="after")
    def _engine_has_what_it_needs(self) -> "ModelConfig":
        if self.engine == "vllm" and not self.source:
            raise ValueError("source is missing: bundled:NAME, hf:ORG/NAME@REVISION or a folder")
        if self.engine == "vllm" and self.profile is not None:
            raise ValueError("profile is for `engine: simulated` only")
        if self.engine == "simulated" and self.profile is None:
            raise ValueError("a simulated engine needs a profile, e.g. llama-3.1-8b-h100-tp1")
        workers = self.tensor_parallel_size * self.pipeline_parallel_size
        if self.nodes_per_replica is not None and workers % self.nodes_per_replica:
            raise ValueError(
                f"nodes_per_replica {self.nodes_per_replica} does not divide the {workers} workers "
                "(tensor_parallel_size x pipeline_parallel_size)"
            )
        if self.engine == "simulated" and (self.nodes_per_replica or 1) > 1:
            raise ValueError("nodes_per_replica is for `engine: vllm` only")
        return self


class StateConfig(Section):
    """Where the state deployment keeps its SQLite file; by default in the run directory."""

    path: Path | None = None


class RayConfig(Section):
    """The Ray cluster that `baryon up` starts on this machine. Counts None: what the machine has.

    `max_gpus`: what the whole cluster may grow to where nodes are added on demand; None: what it has.
    """

    dashboard_host: str = "127.0.0.1"
    dashboard_port: int = Field(8265, ge=1, le=65535)
    num_cpus: int | None = Field(None, ge=1)
    num_gpus: int | None = Field(None, ge=0)
    max_gpus: int | None = Field(None, ge=0)


class MonitoringConfig(Section):
    """`host`, `port`: where each node's exporter listens; 0: no exporters. It asks for no key and names all tenants and
    models, so other machines reach it only where `host` says so.
    """

    host: str = "127.0.0.1"
    port: int = Field(9464, ge=0, le=65535)


class TracingConfig(Section):
    """Spans of requests, by OTLP over HTTP. `sample`: the share of requests that have them.

    `follow_callers`: all that a caller's `traceparent` calls sampled have them too: for callers that are your own.
    """

    endpoint: str
    sample: float = Field(1.0, ge=0, le=1)
    follow_callers: bool = False

    @field_validator("endpoint")
    @classmethod
    def _endpoint_is_whole(cls, endpoint: str) -> str:
        if not re.fullmatch(r"https?://[\w.:\[\]-]+(/[^\s?#]*)?", endpoint):
            raise ValueError(f"{endpoint!r} is not the URL of an OTLP receiver, like http://collector:4318")
        return endpoint if urlsplit(endpoint).path.strip("/") else endpoint.rstrip("/") + "/v1/traces"


class BaryonConfig(Section):
    """The whole file."""

    gateway: GatewayConfig = GatewayConfig()
    models: list[ModelConfig]
    tracing: TracingConfig | None = None
    state: StateConfig = StateConfig()
    ray: RayConfig = RayConfig()
    monitoring: MonitoringConfig = MonitoringConfig()

    @model_validator(mode="after")
    def _names_are_unique(self) -> "BaryonConfig":
        seen: dict[str, str] = {}
        for model in self.models:
            application = application_name(model.name)
            if application in seen:
                other = seen[application]
                what = "is used twice" if other == model.name else f"is too like {other!r}: both become {application!r}"
                raise ValueError(f"the model name {model.name!r} {what}")
            seen[application] = model.name
        return self

    @model_validator(mode="after")
    def _recipes_ask_a_model_that_there_is(self) -> "BaryonConfig":
        wanted, names = self.gateway.recipes_model, [model.name for model in self.models]
        if wanted is not None and wanted not in names:
            raise ValueError(f"gateway.recipes_model is {wanted!r}, which is none of the models: {', '.join(names)}")
        return self


def application_name(model_name: str) -> str:
    """The Serve application of a model, as the Ray dashboard shows it: its name without characters that URLs mind."""
    return re.sub(r"[^\w.-]+", "--", model_name)
