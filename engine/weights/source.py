"""Where a model comes from: `bundled:name`, `hf:org/name@revision`, or a local folder."""

import difflib
import re
from dataclasses import dataclass
from pathlib import Path

from engine.weights.bundled import BUNDLED

DEFAULT_REVISION = "main"
_HUB_REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_REVISION = re.compile(r"(?!.*\.\.)(?!.*\.lock$)\w[\w./+-]*")


class SourceError(ValueError):
    """The text names no model source."""


@dataclass(frozen=True, slots=True)
class Bundled:
    name: str


@dataclass(frozen=True, slots=True)
class Hub:
    """A repository of a model hub at a branch, tag or commit."""

    repository: str
    revision: str


@dataclass(frozen=True, slots=True)
class Local:
    path: Path


Source = Bundled | Hub | Local


def parse_source(text: str) -> Source:
    """Read a `source` from baryon.yaml.

    Raises:
        SourceError: the form or the bundled name is not known; the message names the nearest valid one.
    """
    kind, colon, rest = text.partition(":")
    if colon and kind == "bundled":
        return _bundled(rest)
    if colon and kind == "hf":
        return _hub(rest)
    if text.startswith(("/", "./", "../", "~")):
        return _local(text)
    raise SourceError(
        f"{text!r} is no model source. Expected bundled:NAME ({', '.join(BUNDLED)}), hf:ORG/NAME@REVISION, "
        "or a folder that starts with / or ./"
    )


def _bundled(name: str) -> Bundled:
    if name in BUNDLED:
        return Bundled(name)
    near = difflib.get_close_matches(name, BUNDLED, n=1, cutoff=0.0)
    raise SourceError(f"no bundled model is called {name!r}; did you mean bundled:{near[0]}?")


def _hub(rest: str) -> Hub:
    repository, at, revision = rest.partition("@")
    if not _HUB_REPOSITORY.fullmatch(repository):
        raise SourceError(f"{repository!r} is no hub repository: expected hf:ORG/NAME@REVISION")
    if at and not revision:
        raise SourceError(f"hf:{rest}: nothing stands after @; name a branch, tag or commit, or leave @ out")
    if at and not _REVISION.fullmatch(revision):
        raise SourceError(f"{revision!r} is no revision: expected a branch, tag or commit after @")
    return Hub(repository, revision or DEFAULT_REVISION)


def _local(text: str) -> Local:
    if "\0" in text:
        raise SourceError(f"{text!r} is no folder: a path has no NUL character")
    try:
        return Local(Path(text).expanduser())
    except RuntimeError as error:
        raise SourceError(f"{text!r}: no home folder is known for this user; write the whole path") from error
