"""A recipe's file: each thing that is wrong with one is told with its line."""

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.gateway.recipes.recipe_file import LARGEST_FILE_BYTES, RecipeError, load, parse
from deployments.gateway.recipes.shelf import SHIPPED, shipped
from tests.unit.gateway.recipes.files import GREET, put, read


def line_of(text: str, words: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if words in line)


def test_a_file_is_read_and_its_prompt_rendered() -> None:
    ready = read(GREET)
    messages = ready.prompt.render({"who": "Ada", "times": None}, 1000)
    assert messages == [
        {"role": "system", "content": "You greet.\nBe kind."},
        {"role": "user", "content": "Greet Ada."},
    ]


@pytest.mark.parametrize(
    ("change", "words", "at"),
    [
        (("about: Greets", "outptu: x\nabout: Greets"), "unknown key; did you mean output", "outptu"),
        (("Be kind.", "Be {{ kind }}."), "messages[0].content: reads 'kind', which is not an input", "Be {{ kind }}"),
        (("Greet {{ who }}.", "{% for x in range(9) %}{% endfor %}"), "messages[1].content: loops over", "range"),
        (("Greet {{ who }}.", "{{ who.name }}"), "reads an attribute", "who.name"),
        (("type: text,", "type: txt,"), "'text'", "txt"),
        (("name: greet", "name: hello"), "must be that of the file", "name: hello"),
        (("name: greet", "name: Greet!"), "name: string should match", "name: Greet!"),
        (("{kind: generate}", "{kind: json}"), "needs `json_schema` or `schema_from`", "kind: json"),
        (("{kind: generate}", "{kind: choose, labels: [a, a]}"), "the label 'a' twice", "labels"),
        (("{kind: generate}", "{kind: choose, labels: [a, ' ']}"), "has an empty label", "labels"),
        (("{kind: generate}", "{kind: choose, labels_from: who}"), "not an input of type labels", "name"),
        (("{kind: generate}", "{kind: json, json_schema: {pattern: x}}"), "with 'pattern'", "json_schema"),
        (("{kind: generate}", "{kind: json, json_schema: {properties: {1: {}}}}"), "JSON has no word", "json_schema"),
        (("max_chars: 20", "max_chars: 20, default: 7"), "must be a string", "default: 7"),
        (("name: times", "name: who"), "the input 'who' is there twice", "inputs"),
        (("about: Greets somebody.", "about: [1"), "expected", "inputs"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(change: tuple[str, str], words: str, at: str) -> None:
    text = GREET.replace(*change)
    with pytest.raises(RecipeError) as raised:
        read(text)
    told = next(line for line in str(raised.value).splitlines() if words in line)
    assert told.startswith(f"greet.yaml:{line_of(text, at)}:")


def test_labels_that_nobody_has_to_give_need_a_default() -> None:
    choosing = GREET.replace("{kind: generate}", "{kind: choose, labels_from: times}").replace("texts,", "labels,")
    with pytest.raises(RecipeError, match="the input 'times' is what the output needs"):
        read(choosing)
    assert read(choosing.replace("required: false", "required: false, default: [a, b]"))


def test_the_example_in_the_docs_is_a_recipe() -> None:
    docs = (Path(__file__).parents[4] / "docs" / "recipes.md").read_text()
    (example,) = re.findall(r"```yaml\n(name: reply.*?)```", docs, re.DOTALL)
    values = {"message": "Where is it?", "facts": ["it comes on Monday"], "tone": "warm"}
    system, user = parse(example, "reply.yaml").prompt.render(values, 1000)
    assert system["content"].splitlines()[1:] == ["- Say that it comes on Monday."]
    assert user["content"] == "Where is it?"


def test_an_alias_is_refused_as_it_could_stand_for_more_than_there_is_memory() -> None:
    layers = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    with pytest.raises(RecipeError, match=r"greet.yaml:2: has an alias"):
        read("a0: &a0 x\n" + layers + GREET)


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_what_is_nested_deep_is_refused_before_a_reader_needs_minutes_for_it(opening: str) -> None:
    with pytest.raises(RecipeError, match=r"greet.yaml:1: is nested too deep"):
        read(f"{opening * 15_000}\n{GREET}")


def test_a_value_that_is_not_of_its_tag_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"greet.yaml:1: not YAML"):
        read(GREET.replace("max_chars: 20", "max_chars: !!bool maybe"))


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "greet.yaml")
    with pytest.raises(RecipeError, match="is no file"):
        load(tmp_path / "greet.yaml")


def test_a_large_file_one_that_is_no_text_and_one_that_is_not_there_are_refused(tmp_path: Path) -> None:
    large = put(tmp_path, GREET + "#" * LARGEST_FILE_BYTES)
    with pytest.raises(RecipeError, match="more than 64 KiB"):
        load(large)
    large.write_bytes(b"\xff\xfe")
    with pytest.raises(RecipeError, match="not UTF-8"):
        load(large)
    with pytest.raises(RecipeError, match="cannot be read: No such file"):
        load(tmp_path / "other.yaml")


@given(
    st.text(alphabet=st.characters(codec="utf-8")) | st.text(alphabet="name:about[]{}-*&!|>\n \"'#%@`0aT", max_size=80)
)
def test_any_text_is_a_recipe_or_refused_with_a_line(text: str) -> None:
    with pytest.raises(RecipeError, match=r"^x\.yaml:\d+: "):
        parse(text, "x.yaml")


def test_every_shipped_file_is_a_recipe() -> None:
    assert {path.stem for path in SHIPPED.glob("*.yaml")} == set(shipped())
    assert len(shipped()) >= 5
