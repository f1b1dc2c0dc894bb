"""The sentences that choices are measured on."""

from itertools import chain

import pytest

from deployments.gateway.recipes.occlusion import segments
from tests.sets.sets import labelled, planted, read


@pytest.mark.parametrize("name", ["sentiment", "topic"])
def test_a_set_has_two_hundred_sentences_as_many_of_each_label(name: str) -> None:
    by_label = read(name)
    assert sum(map(len, by_label.values())) >= 200
    assert len({len(texts) for texts in by_label.values()}) == 1


@pytest.mark.parametrize("name", ["sentiment", "topic"])
def test_no_sentence_comes_twice_and_a_fresh_one_is_new(name: str) -> None:
    texts = [sentence.text for sentence in chain(labelled(read(name)), labelled(read("fresh")[name]))]
    assert len(texts) == len(set(texts))
    assert read("fresh")[name].keys() == read(name).keys()


@pytest.mark.parametrize(("name", "texts"), [("planted", 48), ("planted_fresh", 96)])
def test_a_planted_text_has_one_decisive_sentence_among_ten_at_any_place(name: str, texts: int) -> None:
    cases = list(planted(name))
    assert len(cases) == texts
    for case in cases:
        assert len(case.sentences) == len(set(case.sentences)) == 10
        assert [s.of(case.text).strip() for s in segments(case.text, "sentence")] == list(case.sentences)
    assert {case.decisive for case in cases} == set(range(10))
    assert sum(case.label == "positive" for case in cases) * 2 == len(cases)
    assert len({case.sentences[case.decisive] for case in cases}) == len(cases)


def test_a_fresh_planted_text_has_no_sentence_of_the_others() -> None:
    ours, fresh = ({one for case in planted(name) for one in case.sentences} for name in ("planted", "planted_fresh"))
    assert not ours & fresh
