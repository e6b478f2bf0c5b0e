"""Time and peak memory of `objectives.total_correlation` with its gradient.

    python -m benchmarks.total_correlation --json=total_correlation.json
    python -m benchmarks.total_correlation --sweep

The blocked form of the library is compared with the plain one, which holds all M·M·d log densities
and is differentiated by TensorFlow. Every size is measured in fresh processes: the times of both
forms by turns in one, and the peak memory of each form in one of its own, above what the process
held after a warm-up with few rows. An evaluation that is expected to be long is timed only where
its memory is measured.
"""

import datetime
import importlib.metadata
import os
import platform
import statistics
import sys
import time

from benchmarks import command_line, results
from benchmarks.command_line import positive
from benchmarks.processes import in_fresh_process, peak_bytes
from seatbelt_tf import runs
from trainers import program

ROWS = tuple(1 << exponent for exponent in range(9, 16))
UNITS = (6, 32, 96)
WARM_UP_ROWS = 8
SWEEP_ELEMENTS = tuple(1 << exponent for exponent in range(14, 25))
SWEEP_SIZES = ((1024, 6), (1024, 32), (1024, 96), (4096, 6))
# The plain form with its gradient was measured to hold up to this many arrays of M·M·d at once.
PLAIN_ARRAYS = 6
PLAIN_BYTES = 8e9
TURNS = 5
LONG_SECONDS = 10.0
HEADING = """\
| d | M | blocked, s | blocked, MB | plain, s | plain, MB | time blocked/plain |
|---|---|---|---|---|---|---|"""


def parse_arguments():
    parser = command_line.parser("total_correlation", __doc__)
    parser.add_argument("--sweep", action="store_true", help="times by block size instead")
    parser.add_argument("--rows", type=positive, nargs="+", default=ROWS, help="values of M")
    parser.add_argument("--units", type=positive, nargs="+", default=UNITS, help="values of d")
    parser.add_argument(
        "--max_seconds", type=float, default=3600.0, help="skip evaluations expected to be slower"
    )
    parser.add_argument(
        "--threads", type=positive, default=len(os.sched_getaffinity(0)), help="of an evaluation"
    )
    parser.add_argument("--json", metavar="PATH", help="also write the figures there, and a table")
    return parser.parse_args()


def plain_total_correlation(samples, means, stddevs):
    """Minibatch weighted sampling with every log density held: (M, d) three times -> (M,)."""
    import tensorflow as tf

    densities = -0.5 * tf.square((samples[:, None] - means) / stddevs) - tf.math.log(stddevs)
    joint = tf.reduce_logsumexp(tf.reduce_sum(densities, axis=2), axis=1)
    marginals = tf.reduce_sum(tf.reduce_logsumexp(densities, axis=1), axis=1)
    log_size = tf.math.log(tf.cast(tf.shape(samples)[0], samples.dtype))
    return joint - marginals + (samples.shape[1] - 1) * log_size


def make_evaluation(form, units, block_size=None):
    """A function of (M, d) samples, means and stddevs: seconds for the value and gradient.

    Args:
        form: "blocked" or "plain".
        units: d.
        block_size: rows at once; None for the library's choice.
    """
    import tensorflow as tf

    from seatbelt_tf import objectives

    def estimate(samples, means, stddevs):
        if form == "plain":
            return plain_total_correlation(samples, means, stddevs)
        return objectives.total_correlation(samples, means, stddevs, block_size=block_size)

    @tf.function(input_signature=[tf.TensorSpec((None, units))] * 3)
    def value_and_gradients(samples, means, stddevs):
        arguments = (samples, means, stddevs)
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            value = tf.reduce_mean(estimate(*arguments))
        return value, tape.gradient(value, arguments)

    def evaluate(*arguments):
        start = time.perf_counter()
        value, gradients = value_and_gradients(*arguments)
        value.numpy(), [gradient.numpy() for gradient in gradients]
        return time.perf_counter() - start

    return evaluate


def make_inputs(rows, units):
    """Overlapping posteriors and their samples: (M, d) three times."""
    import tensorflow as tf

    means, noise = tf.unstack(tf.random.stateless_normal((2, rows, units), seed=(0, 0)))
    stddevs = 0.2 + tf.random.stateless_uniform((rows, units), seed=(0, 1))
    return means + stddevs * noise, means, stddevs


def start_child(threads):
    """Prepares a fresh process for a measurement."""
    program.import_tensorflow()
    import tensorflow as tf

    # A sweep compiles one function for every block size on purpose.
    tf.get_logger().setLevel("ERROR")
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


def measure_once(form, rows, units, threads):
    """Bytes by which the process grew at its peak, and seconds."""
    start_child(threads)
    evaluate = make_evaluation(form, units)
    evaluate(*make_inputs(WARM_UP_ROWS, units))
    before = peak_bytes()
    seconds = evaluate(*make_inputs(rows, units))
    return peak_bytes() - before, seconds


def measure_seconds(variants, rows, units, threads):
    """Medians over turns, in the order of the variants.

    Args:
        variants: list of (form, block size).
        rows: M.
        units: d.
        threads: of TensorFlow.
    """
    start_child(threads)
    inputs = make_inputs(rows, units)
    evaluations = [make_evaluation(form, units, block) for form, block in variants]
    seconds = [[] for _ in variants]
    for evaluate in evaluations:
        evaluate(*inputs)
    for _ in range(TURNS):
        for each, evaluate in zip(seconds, evaluations, strict=True):
            each.append(evaluate(*inputs))
    return [statistics.median(each) for each in seconds]


def compare(arguments):
    """A row for every M and d: seconds and bytes of both forms, or why one was not measured."""
    print(HEADING)
    rows = []
    for units in arguments.units:
        expected = 0.0
        for count in sorted(arguments.rows):
            row = {"rows": count, "units": units}
            rows.append(row)
            if expected > arguments.max_seconds:
                row["note"] = f"not measured: about {expected:.0f} s an evaluation"
            else:
                measure_row(row, expected, arguments.threads)
                # Time grows with M².
                expected = 4 * row["blocked_seconds"]
            print(line(row), flush=True)
    return rows


def measure_row(row, expected, threads):
    count, units = row["rows"], row["units"]
    needed = PLAIN_ARRAYS * 4 * count * count * units
    forms = ["blocked"]
    if needed > PLAIN_BYTES:
        row["note"] = f"plain not measured: needs about {needed / 1e9:.0f} GB"
    else:
        forms.append("plain")
    for form in forms:
        row[f"{form}_bytes"], row[f"{form}_seconds"] = in_fresh_process(
            measure_once, form, count, units, threads
        )
    if expected <= LONG_SECONDS:
        variants = [(form, None) for form in forms]
        seconds = in_fresh_process(measure_seconds, variants, count, units, threads)
        row.update({f"{form}_seconds": value for form, value in zip(forms, seconds, strict=True)})
    if len(forms) == 2:
        row["time_ratio"] = row["blocked_seconds"] / row["plain_seconds"]


def table(report):
    """The rows of a report in Markdown."""
    lines = [
        f"Written by `python -m benchmarks.total_correlation`, {report['arguments']['threads']} "
        f"threads, load {report['load'][0]:.1f} at the start: the value and its gradient.",
        "",
        HEADING,
        *map(line, report["rows"]),
    ]
    return "\n".join(lines) + "\n"


def line(row):
    """A row of the table."""
    cells = [
        f"{row[f'{form}_seconds']:.3f} | {row[f'{form}_bytes'] / 1e6:,.0f}"
        if f"{form}_seconds" in row
        else " | "
        for form in ("blocked", "plain")
    ]
    ratio = f"{row['time_ratio']:.2f}" if "time_ratio" in row else row.get("note", "")
    return f"| {row['units']} | {row['rows']:,} | {' | '.join(cells)} | {ratio} |"


def sweep(arguments):
    """Seconds by block size for a few M and d."""
    print(f"{'log densities a block':>22}", *(f"M={m} d={d}".rjust(14) for m, d in SWEEP_SIZES))
    columns = []
    for rows, units in SWEEP_SIZES:
        blocks = [min(max(elements // (rows * units), 1), rows) for elements in SWEEP_ELEMENTS]
        variants = [("blocked", block) for block in blocks] + [("blocked", None)]
        columns.append(in_fresh_process(measure_seconds, variants, rows, units, arguments.threads))
    table = []
    for elements, times in zip(
        (*SWEEP_ELEMENTS, "default"), zip(*columns, strict=True), strict=True
    ):
        print(f"{elements:>22}", *(f"{1e3 * seconds:11.1f} ms" for seconds in times))
        table.append({"elements": elements, "seconds": times})
    return {"sizes": SWEEP_SIZES, "times": table}


def main():
    arguments = parse_arguments()
    if not sys.platform.startswith("linux"):
        program.fail("python -m benchmarks.total_correlation", "needs Linux (ru_maxrss)")
    load = os.getloadavg()
    result = sweep(arguments) if arguments.sweep else compare(arguments)
    if arguments.json:
        versions = {name: importlib.metadata.version(name) for name in ("tensorflow", "numpy")}
        report = {
            "arguments": vars(arguments),
            "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            "machine": platform.machine(),
            "load": load,
            "load_after": os.getloadavg(),
            "versions": {"python": platform.python_version(), **versions},
            "sweep" if arguments.sweep else "rows": result,
        }
        if arguments.sweep:
            runs.write_json(arguments.json, report)
        else:
            results.write(arguments.json, report, table(report))


if __name__ == "__main__":
    main()
