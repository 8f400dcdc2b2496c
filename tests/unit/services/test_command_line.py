"""What a wrong command line is answered with: one line and 2, never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgefleet_services.cli.main import outcome


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["resume", "--port", "3"], "No such option: --port; see edgefleet resume --help"),
        (["bogus"], "No such command 'bogus'; see edgefleet --help"),
        (["resume"], "Missing option '--reason'; see edgefleet resume --help"),
        (["up", "--duration", "soon"], "Invalid value for '--duration'"),
        (["up", "--duration", "-5"], "--duration -5.0 is no time to run"),
        (["up", "--duration", "nan"], "--duration nan is no time to run"),
    ],
)
def test_wrong_word_is_told_in_one_line(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(words) == 2

    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("edgefleet: ")
    assert output.err.count("\n") == 1
    assert told in output.err


def test_group_without_a_command_answers_with_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(["params"]) == 2
    assert "rollback" in capsys.readouterr().err


def test_data_directory_without_a_fleet_is_not_answered_by_another_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fleet.json").write_text('{"cut o')

    assert outcome(["status", "--data-dir", str(tmp_path)]) == 3
    assert str(tmp_path) in capsys.readouterr().err
