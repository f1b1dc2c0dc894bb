"""The recipes that there are: those that are shipped, and the operator's, whose folder is looked at every second.

A folder may be a ConfigMap's: its files are links that all change at once.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType

from deployments.gateway.certificate import version
from deployments.gateway.recipes.recipe_file import SUFFIX, ReadyRecipe, RecipeError, load

logger = logging.getLogger(__name__)

SHIPPED = Path(__file__).with_name("shipped")
PERIOD_S = 1.0
MOST_FILES = 200
Version = tuple[int, int, int] | None


@dataclass(slots=True)
class Seen:
    """A file as it was when it was last read. `recipe`: the last that it held; `problem`: why it is refused now."""

    version: Version
    recipe: ReadyRecipe | None = None
    problem: str | None = None


@dataclass(slots=True)
class Folder:
    """Files by name, read again where they have changed. One that was good and is broken goes on as it was, and so do
    all while the folder is there and cannot be read.
    """

    path: Path
    files: dict[str, Seen] = field(default_factory=dict)
    is_unreadable: bool = False

    def refresh(self) -> bool:
        """Whether anything has changed. May block on the disk."""
        found = self._found()
        if found is None:
            return False
        gone = self.files.keys() - found.keys()
        for name in gone:
            logger.info("the recipe file %s is gone", self.path / name)
            del self.files[name]
        changed = {name for name, seen in found.items() if name not in self.files or self.files[name].version != seen}
        for name in changed:
            self._read(name, found[name])
        return bool(gone or changed)

    def _found(self) -> dict[str, Version] | None:
        """None: it cannot be read, as when its disk is away for a while."""
        try:
            names = sorted(path.name for path in self.path.iterdir() if is_recipe_file(path.name))
        except OSError as error:
            if not self.is_unreadable:
                logger.error("the folder of recipes %s cannot be read: %s", self.path, error.strerror)
            self.is_unreadable = True
            return {} if isinstance(error, FileNotFoundError) else None
        self.is_unreadable = False
        if len(names) > MOST_FILES:
            logger.error("the folder of recipes %s has more than %d; the rest is left out", self.path, MOST_FILES)
        return {name: version(self.path / name) for name in names[:MOST_FILES]}

    def _read(self, name: str, seen: Version) -> None:
        before = self.files.get(name)
        try:
            self.files[name] = Seen(seen, load(self.path / name))
            logger.info("the recipe file %s is in use", self.path / name)
        except Exception as error:  # one file must not end the others
            if not isinstance(error, RecipeError):
                logger.exception("the recipe file %s cannot be understood", self.path / name)
            problem = str(error) if isinstance(error, RecipeError) else f"{name}:1: cannot be understood"
            last = before.recipe if before is not None else None
            self.files[name] = Seen(seen, last, problem)
            goes_on = "; the recipe goes on as it was" if last is not None else ""
            logger.error("the recipe file %s is refused%s: %s", self.path / name, goes_on, problem)


def is_recipe_file(name: str) -> bool:
    return name.endswith(SUFFIX) and not name.startswith(".")


@cache
def shipped() -> Mapping[str, ReadyRecipe]:
    """Those in this package, which do not change."""
    return {path.stem: load(path) for path in SHIPPED.glob(f"*{SUFFIX}")}


class Shelf:
    """`recipes` by name; an operator's replaces one of the same name that is shipped. `refused`: the file's problem, by
    the name that the recipe would have. `folder`: the operator's, if any; asked each time.
    """

    def __init__(self, folder: Callable[[], str | None]) -> None:
        self._folder = folder
        self._own: Folder | None = None
        self.recipes: Mapping[str, ReadyRecipe] = MappingProxyType({})
        self.refused: Mapping[str, str] = MappingProxyType({})
        self._put()

    def refresh(self) -> None:
        """May block on the disk."""
        wanted = self._folder()
        if wanted is None:
            if self._own is not None:
                self._own = None
                self._put()
            return
        if self._own is None or self._own.path != Path(wanted):
            self._own = Folder(Path(wanted))
            self._own.refresh()
            self._put()
        elif self._own.refresh():
            self._put()

    async def follow(self) -> None:
        while True:
            if self._folder() is not None or self._own is not None:
                await asyncio.to_thread(self.refresh)
            await asyncio.sleep(PERIOD_S)

    def is_own(self, name: str) -> bool:
        """Whether it is the operator's."""
        seen = self._own.files.get(f"{name}{SUFFIX}") if self._own is not None else None
        return seen is not None and seen.recipe is not None

    def _put(self) -> None:
        """Whoever asks meanwhile, in another thread, sees all of it or nothing."""
        files = self._own.files if self._own is not None else {}
        own = {name.removesuffix(SUFFIX): seen for name, seen in files.items()}
        good = {name: seen.recipe for name, seen in own.items() if seen.recipe is not None}
        self.refused = MappingProxyType({name: seen.problem for name, seen in own.items() if seen.problem is not None})
        self.recipes = MappingProxyType(dict(sorted({**shipped(), **good}.items())))
