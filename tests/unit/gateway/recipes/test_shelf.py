"""The shelf follows an operator's folder: what is good there serves, whatever else is."""

import errno
import logging
from pathlib import Path

import pytest

from deployments.gateway.recipes import shelf as shelf_module
from deployments.gateway.recipes.recipe_file import ReadyRecipe
from deployments.gateway.recipes.shelf import Shelf, shipped
from tests.unit.gateway.recipes.files import GREET, put


def shelf_of(folder: Path | None) -> Shelf:
    shelf = Shelf(lambda: str(folder) if folder else None)
    shelf.refresh()
    return shelf


def prompt(shelf: Shelf, name: str = "greet") -> str:
    messages = shelf.recipes[name].prompt.render({"who": "Ada", "times": None, "question": "", "context": None}, 1000)
    return messages[-1]["content"]


def test_without_a_folder_there_are_the_shipped_recipes() -> None:
    shelf = shelf_of(None)
    assert dict(shelf.recipes) == dict(shipped())
    assert not shelf.is_own("answer")


def test_a_file_that_is_dropped_changed_and_taken_away_is_followed(tmp_path: Path) -> None:
    shelf = shelf_of(tmp_path)
    assert "greet" not in shelf.recipes
    put(tmp_path, GREET)
    shelf.refresh()
    assert (prompt(shelf), shelf.is_own("greet")) == ("Greet Ada.", True)
    put(tmp_path, GREET.replace("Greet {{", "Hail {{"))
    shelf.refresh()
    assert prompt(shelf) == "Hail Ada."
    (tmp_path / "greet.yaml").unlink()
    shelf.refresh()
    assert dict(shelf.recipes) == dict(shipped())


def test_a_broken_file_is_refused_with_its_line_and_the_others_serve(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, GREET)
    put(tmp_path, GREET.replace("about: Greets somebody.", "about: 7"), "broken")
    with caplog.at_level(logging.ERROR):
        shelf = shelf_of(tmp_path)
    assert prompt(shelf) == "Greet Ada."
    assert "broken" not in shelf.recipes
    assert shelf.refused["broken"].startswith("broken.yaml:2: about:")
    assert "broken.yaml:2: about:" in caplog.text


def test_a_recipe_whose_file_becomes_broken_goes_on_as_it_was_until_it_is_mended(tmp_path: Path) -> None:
    put(tmp_path, GREET)
    shelf = shelf_of(tmp_path)
    put(tmp_path, GREET.replace("{{ who }}", "{{ whom }}"))
    shelf.refresh()
    assert prompt(shelf) == "Greet Ada."
    assert "'whom'" in shelf.refused["greet"]
    put(tmp_path, GREET.replace("Greet {{", "Hail {{"))
    shelf.refresh()
    assert prompt(shelf) == "Hail Ada."
    assert not shelf.refused


def test_an_operators_recipe_replaces_a_shipped_one_and_a_broken_one_does_not(tmp_path: Path) -> None:
    put(tmp_path, GREET, "answer")
    put(tmp_path, "name: write", "write")
    shelf = shelf_of(tmp_path)
    assert prompt(shelf, "answer") == "Greet Ada."
    assert shelf.is_own("answer")
    assert shelf.recipes["write"] is shipped()["write"]
    assert not shelf.is_own("write")


def test_the_links_of_a_config_map_change_all_at_once(tmp_path: Path) -> None:
    """As kubelet does it: `..data` is a link to a folder, files are links into it, and the link is replaced."""
    for number, word in enumerate(("Greet", "Hail")):
        version = tmp_path / f"..2026_{number}"
        version.mkdir()
        put(version, GREET.replace("Greet {{", f"{word} {{{{"))
    (tmp_path / "..data").symlink_to("..2026_0")
    (tmp_path / "greet.yaml").symlink_to("..data/greet.yaml")
    shelf = shelf_of(tmp_path)
    assert prompt(shelf) == "Greet Ada."
    (tmp_path / "..data_tmp").symlink_to("..2026_1")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    shelf.refresh()
    assert prompt(shelf) == "Hail Ada."


def test_a_folder_that_is_not_there_yet_is_said_once_and_followed_once_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "later"
    shelf = shelf_of(folder)
    shelf.refresh()
    assert caplog.text.count("cannot be read") == 1
    folder.mkdir()
    put(folder, GREET)
    shelf.refresh()
    assert prompt(shelf) == "Greet Ada."


def test_recipes_go_on_while_their_folder_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, GREET)
    shelf = shelf_of(tmp_path)

    def away(path: Path) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", away)
        shelf.refresh()
        assert prompt(shelf) == "Greet Ada."
    (tmp_path / "greet.yaml").unlink()
    shelf.refresh()
    assert "greet" not in shelf.recipes


def test_a_file_that_nobody_foresaw_is_refused_and_the_others_are_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, GREET, "odd")
    put(tmp_path, GREET)
    load = shelf_module.load

    def surprised(path: Path) -> ReadyRecipe:
        if path.stem == "odd":
            raise KeyError(path)
        return load(path)

    monkeypatch.setattr(shelf_module, "load", surprised)
    shelf = shelf_of(tmp_path)
    assert prompt(shelf) == "Greet Ada."
    assert shelf.refused == {"odd": "odd.yaml:1: cannot be understood"}


def test_another_folder_or_none_takes_effect_without_a_restart(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder, word in ((one, "Greet"), (other, "Hail")):
        folder.mkdir()
        put(folder, GREET.replace("Greet {{", f"{word} {{{{"))
    chosen: list[str | None] = [str(one)]
    shelf = Shelf(lambda: chosen[-1])
    shelf.refresh()
    chosen.append(str(other))
    shelf.refresh()
    assert prompt(shelf) == "Hail Ada."
    chosen.append(None)
    shelf.refresh()
    assert "greet" not in shelf.recipes
