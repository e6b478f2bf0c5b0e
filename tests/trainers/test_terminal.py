"""What the programs print: progress, alarms, commands."""

import shlex
import subprocess
import sys

import pytest

from trainers import terminal


@pytest.fixture
def clock(monkeypatch):
    """A clock that only the test moves: a list of one number."""
    now = [100.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def on_terminal(monkeypatch):
    """Makes standard output a terminal, as far as programs ask."""

    def pretend():
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    return pretend


def test_plain_progress_says_rate_and_time_left_and_at_last_the_time_it_took(clock, capsys):
    progress = terminal.Progress(1500, 500, "images")
    clock[0] += 10
    assert progress.update(600, 64, "ELBO -5 nats") == 640.0
    clock[0] += 90
    progress.update(1500, 64)
    assert capsys.readouterr().out.splitlines() == [
        "step 500/1,500",
        "step 600/1,500  640 images/s  1:30 left  ELBO -5 nats",
        "step 1,500/1,500  640 images/s  took 1:40",
    ]


def test_between_distant_updates_a_line_shows_that_work_goes_on(clock, capsys):
    progress = terminal.Progress(100, 0, "images")
    clock[0] += 10
    progress.update(10, 8, "ELBO -5 nats")
    clock[0] += 10
    progress.tick(15, 8)
    clock[0] += 25
    progress.tick(20, 8)
    clock[0] += 5
    # Of all 20 steps since the last update, in 40 seconds.
    assert progress.update(30, 8, "ELBO -4 nats") == 4.0
    assert capsys.readouterr().out.splitlines()[2:] == [
        "step 20/100  2.3 images/s  3:00 left  ELBO -5 nats",
        "step 30/100  4 images/s  1:56 left  ELBO -4 nats",
    ]


def test_the_first_few_steps_which_compile_say_nothing_about_the_time_left(clock, capsys):
    progress = terminal.Progress(300, 200, None)
    clock[0] += 50
    progress.tick(202)
    clock[0] += 10
    progress.update(204)
    clock[0] += 6
    progress.update(210)
    clock[0] += 90
    progress.update(300)
    assert capsys.readouterr().out.splitlines()[1:] == [
        "step 202/300",
        "step 204/300",
        "step 210/300  1:30 left",
        "step 300/300  took 2:36",
    ]


def test_finely_counted_work_prints_few_plain_lines(clock, capsys):
    for _ in terminal.shown(range(100), "noise", None):
        clock[0] += 0.125
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "noise 0/100"
    assert lines[-1] == "noise 100/100  took 0:12"
    assert len(lines) == 4


def test_nothing_is_printed_of_work_that_was_done_before(capsys):
    terminal.Progress(5, 5, "attacks")
    assert list(terminal.shown([], "noise", "scales")) == []
    assert capsys.readouterr().out == ""


def test_on_a_terminal_one_line_is_rewritten_and_ended(on_terminal, capsys):
    on_terminal()
    progress = terminal.Progress(2, 0, None)
    progress.update(1)
    assert "\n" not in capsys.readouterr().out
    terminal.end_line()
    terminal.end_line()
    assert capsys.readouterr().out == "\n"
    progress.update(2, message="x" * 500)
    line = capsys.readouterr().out
    assert line.endswith("\n")
    # A terminal of unknown size has 80 columns.
    assert len(line) < 100


def test_alarms_are_red_on_a_terminal_only_and_not_with_no_color(on_terminal, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert terminal.alarm("FIRED") == "FIRED"
    on_terminal()
    assert terminal.alarm("FIRED") == "\x1b[1;31mFIRED\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert terminal.alarm("FIRED") == "FIRED"


def test_a_suggested_command_runs_with_this_python(monkeypatch, tmp_path):
    line = terminal.command("this", "--run=a b")
    words = shlex.split(line)
    assert words[1:] == ["-m", "this", "--run=a b"]
    out = subprocess.check_output(f"{words[0]} -c 'import sys; print(sys.prefix)'", shell=True)
    assert out.decode().strip() == sys.prefix
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv" / "bin" / "python"))
    monkeypatch.chdir(tmp_path)
    assert terminal.command("this") == ".venv/bin/python -m this"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.9, "0:59"), (3723, "1:02:03")])
def test_durations_are_minutes_and_from_an_hour_hours(seconds, text):
    assert terminal.duration(seconds) == text
