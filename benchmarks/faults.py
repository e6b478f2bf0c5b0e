"""Kills, damages, fills, poisons and lies to the programs, and prints what became of it.

    python -m benchmarks.faults --json=results/faults.json
    python -m benchmarks.faults --only kills battery --kills=20

Full disks need the right to mount one.
"""

import contextlib
import json
import os
import pathlib
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np

from benchmarks import command_line, fault_inputs
from benchmarks.fault_children import CONFIG, battery_records, poison, start, weights_hash
from benchmarks.fault_costs import measure_determinism
from seatbelt_tf import runs
from tests import test_checkpoints

KILLED = -signal.SIGKILL


def _new_run(directory, name):
    run = runs.Run(pathlib.Path(directory) / name)
    run.create(CONFIG)
    return run


def _finish(run, kind="train"):
    """Runs a child to its end: (exit status, standard output and error, seconds)."""
    started = time.monotonic()
    with start(kind, run) as child:
        output = child.communicate()[0]
    return child.returncode, output, time.monotonic() - started


def _kill(run, kind, sign, delay, number=signal.SIGKILL):
    """Starts a child, signals it `delay` seconds after a line with `sign`: (status, lines)."""
    with start(kind, run) as child:
        lines = []
        for line in child.stdout:
            lines.append(line)
            if sign in line:
                break
        time.sleep(delay)
        sent = time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            child.send_signal(number)
        lines.append(child.communicate()[0])
    return child.returncode, "".join(lines), time.monotonic() - sent


def kills(directory, count):
    """Random kill -9 during training, against an undisturbed run."""
    whole = _new_run(directory, "whole")
    _finish(whole)
    expected, rng = weights_hash(whole), random.Random(0)
    equal = in_writing = interrupted = 0
    for trial in range(count):
        run = _new_run(directory, f"killed-{trial}")
        sign = rng.choice(["loading", "step 10/", "step 20/", "step 40/"])
        status, _, _ = _kill(run, "train", sign, rng.uniform(0, 3 if sign == "loading" else 0.4))
        interrupted += status == KILLED
        in_writing += bool(list(run.checkpoints.glob(".step-*")))
        _finish(run)
        equal += weights_hash(run) == expected
    return {
        "runs": count,
        "killed_before_their_end": interrupted,
        "killed_while_writing_a_checkpoint": in_writing,
        "final_weights_equal": equal,
    }


def battery(directory, count):
    """Random kills of one battery, and two processes on another, against an undisturbed one."""
    run = _new_run(directory, "attacked")
    _finish(run)
    whole = battery_records(run, "whole", _finish)
    rng, interrupted = random.Random(1), 0
    for _ in range(count):
        status, _, _ = _kill(run, "battery killed", "made", rng.uniform(0, 0.3))
        interrupted += status == KILLED
    killed = battery_records(run, "killed", _finish)
    with start("battery shared", run) as one, start("battery shared", run) as two:
        made = [line for child in (one, two) for line in child.communicate()[0].splitlines()]
    shared = battery_records(run, "shared", _finish)
    made = [line for line in made if line.startswith("made")]
    return {
        "kills": count,
        "killed_before_their_end": interrupted,
        "attacks": len(whole["loss"]),
        "records_equal_after_kills": _same(whole, killed),
        "records_equal_of_two_processes": _same(whole, shared),
        "parts_made_by_two_processes": len(made),
        "of_them_made_twice": len(made) - len(set(made)),
    }


def _same(one, other):
    return all(np.array_equal(one[name], other[name], equal_nan=True) for name in one)


def mutations(directory, _):
    """Nine mutations of a checkpoint directory and what --resume made of each."""
    table = {}
    for mutate in test_checkpoints.MUTATIONS:
        run = _new_run(directory, f"mutated{mutate.__name__}")
        _kill(run, "train", "step 40/", 0)
        kept = test_checkpoints.checkpoints.Checkpoints(run.checkpoints)
        mutate(kept)
        status, output, _ = _finish(run)
        said = [line for line in output.splitlines() if "warning: " in line or "Invalid" in line]
        again = [line for line in output.splitlines() if line.startswith("going on")]
        table[mutate.__name__[1:]] = {
            "exit_status": status,
            "said": " | ".join(said).replace(str(directory), "…"),
            "then": again[0] if again else "nothing was touched",
        }
    return table


def full_disk(directory, _):
    """A tmpfs too small for three checkpoints; then it grows and the run goes on."""
    whole = _new_run(directory, "roomy")
    _finish(whole)
    small = pathlib.Path(directory) / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=15m", "tmpfs", small], check=True)
    try:
        run = _new_run(small, "run")
        status, output, _ = _finish(run)
        free = os.statvfs(small).f_bavail * os.statvfs(small).f_frsize
        subprocess.run(["mount", "-o", "remount,size=200m", small], check=True)
        resumed, again, _ = _finish(run)
        equal = weights_hash(run) == weights_hash(whole)
    finally:
        subprocess.run(["umount", small], check=True)
    return {
        "exit_status": status,
        "said": output.splitlines()[-1].replace(str(directory), "…"),
        "free_bytes_left": free,
        "resumed": next(line for line in again.splitlines() if line.startswith("going on")),
        "exit_status_with_room": resumed,
        "final_weights_equal": equal,
    }


def sigterm(directory, _):
    """SIGTERM and Ctrl-C in the middle of training."""
    whole = _new_run(directory, "unsignalled")
    _finish(whole)
    table = {}
    for number in (signal.SIGTERM, signal.SIGINT):
        run = _new_run(directory, number.name)
        status, output, seconds = _kill(run, "train", "step 20/", 0.05, number)
        _finish(run)
        table[number.name] = {
            "exit_status": status,
            "seconds_to_exit_with_saved_state": round(seconds, 2),
            "said": output.splitlines()[-1].replace(str(directory), "…"),
            "final_weights_equal": weights_hash(run) == weights_hash(whole),
        }
    return table


EXPERIMENTS = {
    "kills": kills,
    "battery": battery,
    "mutations": mutations,
    "full_disk": full_disk,
    "sigterm": sigterm,
    "poison": lambda *_: poison(),
    "hostile_files": lambda directory, _: fault_inputs.hostile_files(pathlib.Path(directory)),
    "bad_inputs": lambda directory, _: fault_inputs.bad_inputs(pathlib.Path(directory)),
    "determinism": lambda directory, _: measure_determinism(pathlib.Path(directory)),
}


def main():
    parser = command_line.parser("faults", __doc__)
    parser.add_argument(
        "--json", metavar="PATH", type=pathlib.Path, help="also write the figures there"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=EXPERIMENTS,
        default=list(EXPERIMENTS),
        help="what is done to them",
    )
    parser.add_argument(
        "--kills", type=command_line.positive, help="of each kind (default: 20, of a battery 10)"
    )
    arguments = parser.parse_args()
    results = {}
    if arguments.json and arguments.json.exists():
        results = runs.read_json(arguments.json)
    for name in arguments.only:
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as directory:
            count = arguments.kills or {"battery": 10}.get(name, 20)
            result = EXPERIMENTS[name](directory, count)
        results[name] = {"seconds": round(time.monotonic() - started), **result}
        print(f"{name}: {json.dumps(results[name], indent=2, ensure_ascii=False)}", flush=True)
        if arguments.json:
            runs.write_json(arguments.json, results)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"peak memory of this process: {peak:.0f} MiB", file=sys.stderr)


if __name__ == "__main__":
    main()
