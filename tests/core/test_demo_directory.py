"""The demo empties only what a demo made, and nothing that is in use."""

from pathlib import Path

import pytest

from examples.month.directory import MARKER, DemoDirectory, DirectoryRefused


def test_a_run_finds_nothing_of_the_run_before(tmp_path: Path) -> None:
    directory = DemoDirectory(tmp_path / "demo-data")
    with directory.made_anew():
        (directory.statements / "2017-11-24.csv").write_text("old")
        directory.keep_figures("{}")

    with directory.made_anew():
        found = sorted(path.relative_to(directory.path).as_posix() for path in directory.path.rglob("*"))

    assert found == [MARKER, "hub", "keys", "receipts", "statements"]


def test_a_directory_of_somebody_else_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("three years of work")

    with (
        pytest.raises(DirectoryRefused, match="was not made by the demo"),
        DemoDirectory(tmp_path).made_anew(),
    ):
        pass

    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_directory_in_use_is_left_as_it_is(tmp_path: Path) -> None:
    directory = DemoDirectory(tmp_path / "demo-data")
    with directory.made_anew():
        directory.note_hub(4711)

        with pytest.raises(DirectoryRefused, match="process 4711"), directory.made_anew():
            pass

        assert directory.keys.is_dir()


def test_a_link_to_a_directory_is_not_followed(tmp_path: Path) -> None:
    real = DemoDirectory(tmp_path / "real")
    with real.made_anew():
        pass
    link = tmp_path / "link"
    link.symlink_to(real.path)

    with pytest.raises(DirectoryRefused, match="not a directory"), DemoDirectory(link).made_anew():
        pass

    assert real.keys.is_dir()


def test_what_a_link_in_the_directory_points_to_is_left_as_it_is(tmp_path: Path) -> None:
    directory = DemoDirectory(tmp_path / "demo-data")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    with directory.made_anew():
        (directory.path / "link").symlink_to(elsewhere)

    with directory.made_anew():
        pass

    assert not (directory.path / "link").exists()
    assert (elsewhere / "kept").exists()


def test_only_what_a_finished_run_left_can_be_served(tmp_path: Path) -> None:
    directory = DemoDirectory(tmp_path / "demo-data")

    with pytest.raises(DirectoryRefused, match="run the demo first"), directory.held():
        pass
    with directory.made_anew(), pytest.raises(DirectoryRefused, match="did not finish"):
        directory.read_figures()
