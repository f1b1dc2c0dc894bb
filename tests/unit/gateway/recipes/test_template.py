"""Templates of recipes: what they may do, and that nothing else gets so far as to be compiled."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.gateway.errors import GatewayError
from deployments.gateway.recipes.template import TemplateProblem, compiled

INPUTS, LISTS = ("text", "other", "items"), ("items",)


def rendered(source: str, most_chars: int = 1000, **values: object) -> str:
    return compiled(source, INPUTS, LISTS).render({"text": None, "other": None, "items": None, **values}, most_chars)


@pytest.mark.parametrize(
    ("source", "values", "expected"),
    [
        ("Say {{ text }}", {"text": "hi"}, "Say hi"),
        ("{% if other %}A {{ other }}{% else %}B{% endif %}", {"other": "x"}, "A x"),
        ("{% if other %}A{% else %}B{% endif %}", {}, "B"),
        ("{{ other }}|", {}, "|"),
        ("{% for one in items %}- {{ one|upper }}\n{% endfor %}", {"items": ["a", "b"]}, "- A\n- B"),
        ("{{ items|join(', ') }}", {"items": ["a", "b"]}, "a, b"),
        ("{{ items|json }}", {"items": ["<a>"]}, '["<a>"]'),
        ("{{ 'yes' if text == 'a' and other is none else 'no' }}", {"text": "a"}, "yes"),
        ("{{ text|truncate(5) ~ '!' }}", {"text": "hello world"}, "he...!"),
    ],
)
def test_a_template_renders(source: str, values: dict[str, object], expected: str) -> None:
    assert rendered(source, **values) == expected


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{% for one in range(1000000000) %}x{% endfor %}", "loops over"),
        ("{% for one in text %}x{% endfor %}", "loops over"),
        ("{% for one in [1, 2] %}x{% endfor %}", "loops over"),
        ("{% for a in items %}{% for b in items %}x{% endfor %}{% endfor %}", "nested"),
        ("{% for a, b in items %}x{% endfor %}", "several variables"),
        ("{% for a in items recursive %}x{% endfor %}", "recursive"),
        ("{% for a in items %}{{ loop.index }}{% endfor %}", "reads an attribute"),
        ("{{ text.__class__ }}", "reads an attribute"),
        ("{{ text['__class__'] }}", "reads an item"),
        ("{{ text|attr('__class__') }}", "'attr'"),
        ("{{ text.upper() }}", "calls"),
        ("{{ cycler('a') }}", "calls"),
        ("{{ 'a' * 1000000000 }}", "Mul"),
        ("{{ 2 ** 1000000000 }}", "Pow"),
        ("{{ 'a'|center(1000000000) }}", "'center'"),
        ("{{ items|join(', ', 'x') }}", "one constant"),
        ("{{ items|join(attribute='x') }}", "one constant"),
        ("{{ text|default(other) }}", "one constant"),
        ("{{ text is divisibleby 3 }}", "'divisibleby'"),
        ("{% set x = 1 %}", "Assign"),
        ("{% macro m() %}{% endmacro %}", "macro"),
        ("{% include 'x' %}", "includes"),
        ("{% import 'x' as x %}", "imports"),
        ("{% extends 'x' %}", "extends"),
        ("{% block b %}{% endblock %}", "Block"),
        ("{% filter upper %}x{% endfilter %}", "FilterBlock"),
        ("{{ self }}", "not an input"),
        ("{{ secret }}", "not an input"),
        ("{{ 'ab'|join('ab')|join('ab') }}", "something else than an input"),
        ("{{ text|upper|json }}", "something else than an input"),
        ("{{ items|join('" + "x" * 65 + "') }}", "more than 64"),
        ("{{ text ", "not Jinja"),
        ("{% if %}", "not Jinja"),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "nested too deep"),
        ("x" * 40_000, "more than"),
    ],
)
def test_a_template_that_could_run_away_or_look_around_is_refused(source: str, words: str) -> None:
    with pytest.raises(TemplateProblem, match=words):
        compiled(source, INPUTS, LISTS)


def test_the_line_of_a_problem_is_told() -> None:
    with pytest.raises(TemplateProblem) as raised:
        compiled("one\ntwo\n{{ text.three }}", INPUTS, LISTS)
    assert raised.value.line == 3


def test_what_is_rendered_is_bounded_before_it_is_whole() -> None:
    with pytest.raises(GatewayError, match="more than 100 characters"):
        rendered("{% for one in items %}{{ text }}{% endfor %}", 100, items=["a"] * 64, text="x" * 50)


@given(st.text())
def test_what_an_input_holds_is_never_a_template(text: str) -> None:
    assert rendered("{{ text }}", 10**6, text="{{ other }}{% for %}" + text) == ("{{ other }}{% for %}" + text).strip()


@given(st.text(alphabet="{}%|.()[]' \ntextitemsforinif_~*+-=", max_size=60))
def test_any_source_is_a_template_or_refused(source: str) -> None:
    """And what is accepted renders, or fails as an input that does not fit."""
    try:
        template = compiled(source, INPUTS, LISTS)
    except TemplateProblem as problem:
        assert problem.line >= 1
        return
    try:
        assert len(template.render({"text": "a", "other": None, "items": ["b"]}, 1000)) <= 1000
    except GatewayError as error:
        assert error.status == 400
