"""What all programs print alike: progress with the time left, alarms, the next command."""

import os
import pathlib
import shlex
import shutil
import sys
import time

# Seconds between the plain lines of work that is counted finely, and of work between its reports.
PAUSE, SILENCE = 5.0, 30.0
_is_line_open = False


class Progress:
    """A progress display: one line rewritten on a terminal, plain lines otherwise.

    Args:
        total: number of steps in all.
        done: how many are done at the start; nothing is shown at first if all are.
        unit: what is counted per second, "images" say; None leaves the rate out.
        name: what the steps are, the first word of the line.
        pause: least seconds between two plain lines; the first and the last are always printed.
    """

    def __init__(self, total, done, unit, name="step", pause=0.0):
        self._total, self._done, self._unit = total, done, unit
        self._name, self._pause = name, pause
        self._start = self._mark = self._shown = time.monotonic()
        self._marked, self._message = done, ""
        # Where and when the time left is reckoned from.
        self._base = done, self._start
        if done < total:
            self._show(done, [])

    def update(self, step, items_per_step=1, message=""):
        """Shows the state after `step` steps; returns items a second since the last update."""
        self._message = message
        if self._is_early(step):
            self._base = step, time.monotonic()
        rate = self._tell(step, items_per_step, self._pause)
        self._mark, self._marked = time.monotonic(), step
        return rate

    def tick(self, step, items_per_step=1):
        """Shows the state between two updates, which may be far apart, with the last message."""
        self._tell(step, items_per_step, SILENCE)

    def _tell(self, step, items_per_step, pause):
        now = time.monotonic()
        rate = (step - self._marked) * items_per_step / max(now - self._mark, 1e-9)
        elapsed, is_last = now - self._start, step >= self._total
        if is_last or sys.stdout.isatty() or now - self._shown >= pause:
            self._shown = now
            words = [] if self._unit is None else [f"{_number(rate)} {self._unit}/s"]
            if is_last:
                words.append(f"took {duration(elapsed)}")
            elif step > self._base[0] and not self._is_early(step):
                pace = (now - self._base[1]) / (step - self._base[0])
                words.append(f"{duration((self._total - step) * pace)} left")
            self._show(step, [*words, self._message] if self._message else words)
        return rate

    def _is_early(self, step):
        """Whether only the first few steps are done: they compile and say nothing of the others."""
        is_first = self._base[0] == self._done
        return is_first and 20 * (step - self._done) < self._total - self._done

    def _show(self, step, words):
        global _is_line_open
        line = "  ".join([f"{self._name} {step:,}/{self._total:,}", *words])
        if not sys.stdout.isatty():
            print(line, flush=True)
            return
        # Lines that wrap could not be rewritten.
        line = line[: shutil.get_terminal_size().columns - 1]
        _is_line_open = step < self._total
        print(f"\r\x1b[K{line}", end="" if _is_line_open else "\n", flush=True)


def shown(items, name, unit):
    """The items one after another, with a `Progress` of them.

    Args:
        items: an iterable.
        name: see `Progress`.
        unit: see `Progress`.

    Yields:
        Each item.
    """
    items = list(items)
    progress = Progress(len(items), 0, unit, name, PAUSE)
    for place, item in enumerate(items, 1):
        yield item
        progress.update(place)


def say(text):
    """Says what is being done by a program that prints nothing while it does it."""
    end_line()
    print(f"{text} …", flush=True)


def end_line():
    """Leaves a progress line that is being rewritten, so that what follows has its own."""
    global _is_line_open
    if _is_line_open:
        print(flush=True)
        _is_line_open = False


def alarm(text):
    """The text, red on a terminal unless NO_COLOR is set (no-color.org)."""
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        return f"\x1b[1;31m{text}\x1b[0m"
    return text


def command(module, *arguments):
    """The shell command that runs a program with this Python, as its user may type it."""
    python = sys.executable
    if shutil.which("python") == python:
        python = "python"
    elif pathlib.Path(python).is_relative_to(pathlib.Path.cwd()):
        python = os.path.relpath(python)
    return shlex.join([python, "-m", module, *arguments])


def suggest(line):
    """Prints the command that makes sense next: the last line of a program."""
    print(f"next: {line}")


def duration(seconds):
    """Seconds as m:ss or h:mm:ss."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def _number(rate):
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
