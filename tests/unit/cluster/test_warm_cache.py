"""Models are in the store before an engine asks; one that cannot be had ends the Job with words."""

from pathlib import Path

import pytest

from cluster.warm_cache import main


def test_a_model_in_the_store_is_only_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    monkeypatch.setenv("BARYON_HOME", str(tmp_path / "home"))
    main([str(tmp_path)])
    assert capsys.readouterr().out == f"{tmp_path}: {tmp_path.resolve()}\n"


@pytest.mark.parametrize(("source", "words"), [("hf:nonsense", "hf:nonsense"), ("/not/there", "/not/there")])
def test_what_cannot_be_had_is_an_error_that_names_it(
    source: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BARYON_HOME", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        main([source])
    assert str(ended.value).startswith("error: ")
    assert words in str(ended.value)
