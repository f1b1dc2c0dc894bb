"""`baryon.yaml`, read so that every error names the line, the key and what was expected."""

from pathlib import Path

from cluster.checked_yaml import ConfigError, load_yaml, parse_yaml
from cluster.config import BaryonConfig

__all__ = ["ConfigError", "load_config", "parse_config"]


def load_config(path: Path) -> BaryonConfig:
    """Raises:
    ConfigError: the file cannot be read, is not YAML, or says something Baryon does not understand.
    """
    return load_yaml(path, BaryonConfig)


def parse_config(text: str, name: str = "baryon.yaml") -> BaryonConfig:
    """Raises:
    ConfigError: see `load_config`.
    """
    return parse_yaml(text, name, BaryonConfig)
