"""Labels are bounded, over all processes of a node and over their lives."""

from pathlib import Path

from monitoring.label_slots import LabelSlots


def test_who_comes_first_has_a_value_of_his_own(tmp_path: Path) -> None:
    one, another = LabelSlots(tmp_path / "slots", 3), LabelSlots(tmp_path / "slots", 3)
    assert one.has("model", "a")
    assert another.has("model", "b")
    assert one.has("model", "c\n")
    assert not another.has("model", "d")
    assert another.has("model", "a")
    assert LabelSlots(tmp_path / "slots", 3).has("model", "c\n")
    assert not LabelSlots(tmp_path / "slots", 3).has("model", "d")


def test_a_line_that_a_full_disk_has_cut_off_is_nobodys(tmp_path: Path) -> None:
    (tmp_path / "slots").write_text('["model", "a"]\n["mod\n')
    slots = LabelSlots(tmp_path / "slots", 2)
    assert slots.has("model", "b")
    assert slots.has("model", "a")


def test_a_full_house_is_not_asked_again(tmp_path: Path) -> None:
    slots = LabelSlots(tmp_path / "slots", 1)
    assert slots.has("a")
    (tmp_path / "slots").unlink()
    assert not any(slots.has(f"tenant-{number}") for number in range(1000))
    assert not (tmp_path / "slots").exists()


def test_without_a_file_it_is_this_process_alone() -> None:
    slots = LabelSlots(None, 1)
    assert slots.has("a")
    assert not slots.has("b")
