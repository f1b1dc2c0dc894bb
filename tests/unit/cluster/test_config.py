"""A bad baryon.yaml names the line, the key, what was expected and the nearest valid name."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.config import BaryonConfig
from cluster.config_file import ConfigError, load_config, parse_config

GOOD = "models:\n  - name: m\n    source: bundled:tiny-random-llama\n"


def error_of(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(text)
    return str(caught.value)


def test_the_default_configuration_is_valid() -> None:
    import cluster

    config = load_config(Path(cluster.__file__).with_name("default.yaml"))
    assert config.models[0].name == "smollm2-135m-instruct"


def test_the_example_of_names_in_the_docs_is_valid() -> None:
    docs = (Path(__file__).parents[3] / "docs" / "privacy.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", docs, re.DOTALL)
    assert parse_config(f"models: []\n{example}").gateway.names_model == "llama-3.1-8b"


def test_every_problem_is_told_at_once_with_its_line() -> None:
    text = GOOD + "    tensor_paralel_size: 2\n    replicas: {min: 3, max: 2}\ngatewy: {}\ngateway: {port: 99999}\n"
    lines = error_of(text).splitlines()
    assert "baryon.yaml:4: models[0].tensor_paralel_size: unknown key; did you mean tensor_parallel_size?" in lines
    assert "baryon.yaml:5: models[0].replicas: max (2) is smaller than min (3)" in lines
    assert "baryon.yaml:6: gatewy: unknown key; did you mean gateway?" in lines
    assert any(line.startswith("baryon.yaml:7: gateway.port: ") and line.endswith("got 99999") for line in lines)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected a mapping with the key `models`, got nothing"),
        ("- a", "got a list"),
        ("a: b: c", ":1: mapping values are not allowed"),
        ("models:\n\t- x", ":2:"),
        ("models: 3", "models: input should be a valid list, got 3"),
        ("models: []\nmodels: []", "duplicate key"),
        ("models: [{name: a}]", "source is missing"),
        ("models: [{name: gateway, source: /x}]", "reserved"),
        ("models: [{name: 'a b', source: /x}]", "letters, digits"),
        ("models: [{name: a, source: /x}, {name: a, source: /x}]", "'a' is used twice"),
        ("models: [{name: a/b, source: /x}, {name: a--b, source: /x}]", "both become 'a--b'"),
        ("models: [{name: a, source: gguf:x}]", "Expected bundled:NAME"),
        ("models: [{name: a, source: bundled:smollm}]", "did you mean bundled:smollm2-135m-instruct"),
        ("models: [{name: a, engine: simulated}]", "needs a profile"),
        (GOOD + "gateway: {recipes_model: other}", "recipes_model is 'other', which is none of the models: m"),
        ("models: [{name: a, source: /x, profile: instant}]", "profile is for"),
        ("models: [{name: a, source: /x, engine_args: {max_model_length: 1}}]", "did you mean max_model_len?"),
        ("models: [{name: a, source: /x, engine_args: {port: 1}}]", "port is set by the replica itself"),
        ("models: [{name: a, source: /x, engine_args: {trust_remote_code: true}}]", "refused"),
        ("models: [{name: a, source: /x, engine_args: {enforce_eager: 3}}]", "expects true or false"),
        ("models: [{name: a, source: /x, engine_args: {dtype: float31}}]", "expects one of"),
        ("models: [{name: a, source: /x, slo: {ttft: 3}}]", "did you mean ttft_ms?"),
        ("models: []\ngateway: {extra_body_fields: [cache_salt]}", "set by the gateway"),
        ("models: []\ngateway: {media_hosts: [169.254.169.254]}", "not the name of a host"),
        ("models: []\ngateway: {media_hosts: ['https://a.example']}", "not the name of a host"),
        ("models: []\ngateway: {phone_regions: [UK]}", "like US, GB or DE"),
        ("models: []\ngateway: {names_url: 'http://127.0.0.1:8000'}", "names_url and names_model go together"),
        ("models: []\ngateway: {names_model: m, names_url: '127.0.0.1:8000'}", "is not like http://127.0.0.1:8000"),
        ("models: []\ngateway: {admin_host: 0.0.0.0}", "loopback only"),
        ("models: []\ngateway: {admin_host: console.example.com}", "kubectl port-forward"),
        ("models: []\ngateway: {admin_port: 8000}", "admin_port and port are both 8000"),
        ("models: []\ngateway: {cors_origins: [chat.example.com]}", "not an origin"),
        ("models: []\ngateway: {cors_origins: ['https://chat.example.com/']}", "not an origin"),
        ("models: []\ntracing: {endpoint: 'collector:4318'}", "not the URL of an OTLP receiver"),
        ("models: []\ntracing: {endpoint: 'http://c:4318', sample: 2}", "tracing.sample"),
        ("models: []\ngateway: {tls: {certificate: a.pem}}", "gateway.tls.key"),
    ],
)
def test_each_mistake_is_explained(text: str, words: str) -> None:
    assert words.lower() in error_of(text).lower()


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "none.yaml")
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(binary)


def test_a_model_may_have_no_replica_but_not_at_most_none() -> None:
    counts = parse_config(GOOD + "    replicas: {min: 0}\n").models[0].replicas
    assert (counts.min, counts.max) == (0, 1)
    with pytest.raises(ConfigError, match=r"replicas\.max"):
        parse_config(GOOD + "    replicas: {min: 0, max: 0}\n")


def test_max_replicas_follows_min() -> None:
    assert parse_config(GOOD + "    replicas: {min: 3}\n").models[0].replicas.max == 3


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="abm{}[]:,-# \n'\"&*!|>%@\t0123", max_size=60))
def test_any_text_is_a_configuration_or_an_error(text: str) -> None:
    try:
        config = parse_config(text)
    except ConfigError as error:
        assert str(error).startswith("baryon.yaml")
    else:
        assert isinstance(config, BaryonConfig)


keys = st.sampled_from(["models", "gateway", "name", "source", "port", "replicas", "min", "engine_args", "slo", "x"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(keys, children, max_size=4),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(keys, values, max_size=4))
def test_any_document_is_a_configuration_or_an_error(document: object) -> None:
    import json

    text = json.dumps(document)
    try:
        parse_config(text)
    except ConfigError as error:
        assert str(error)


def test_the_folder_of_recipes_is_the_same_wherever_the_gateway_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = parse_config(GOOD + "gateway: {recipes_folder: recipes}")
    assert config.gateway.recipes_folder == str(tmp_path / "recipes")
