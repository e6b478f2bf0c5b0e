"""Every figure and table of the paper by name: `python -m trainers.reproduce --help`."""

import itertools
import pathlib
import shlex
import sys

from absl import flags

from seatbelt_tf import checks, datasets
from trainers import common_flags, program, terminal

DESCRIPTION = """
Repeats the paper's figures and tables: trains the models of a study, attacks and measures them, and
writes tables, figures and a record of how they came about to RESULTS/SCALE/EXPERIMENT-DATASET.
Models and measures are kept in a store and shared by all experiments; what is there is never
computed again. Any number of processes, on any machines that share the store, may work on the same
experiment: no work is done twice, and what a killed one was doing is taken over.

Examples:
  PROGRAM --experiment=figure3 --scale=smoke     a minute, to see that it works
  PROGRAM --experiment=figure5 --dry_run         what it takes
  PROGRAM --experiment=figure5,figureD9 --workers=2
  PROGRAM --experiment=table1 --data_dir=DIR     CIFAR-10, as TFDS has it
  PROGRAM --experiment=figure5 --executor=ray --store=/shared/studies
  PROGRAM --experiment=all --finished            tables of what is there
"""

FLAGS = flags.FLAGS
flags.DEFINE_list("experiment", None, "Names, or all; --list shows them.")
flags.DEFINE_bool("list", False, "Name the experiments and stop.")
flags.DEFINE_list("dataset", None, "One or more, in place of the experiment's own.")
flags.DEFINE_alias("datasets", "dataset")
flags.DEFINE_enum("scale", "cpu", ["smoke", "cpu", "paper"], "Size of models and attacks.")
common_flags.define_data_dir()
flags.DEFINE_string("store", "runs/studies", "Where models and measures are kept.")
flags.DEFINE_string("results", "results/reproduction", "Where tables and figures go.")
flags.DEFINE_integer("workers", 1, "Models worked on at once, each by a process of its own.")
flags.DEFINE_enum(
    "executor", "local", ["local", "ray"], "Where: processes here, or tasks on a Ray cluster."
)
flags.DEFINE_string("ray_address", "auto", "host:port of the cluster's head; auto: this one's.")
flags.DEFINE_float("ray_cpus", 1.0, "Cores that a model takes on a Ray cluster.")
flags.DEFINE_float("ray_gpus", 0.0, "Accelerators that a model takes on a Ray cluster.")
flags.DEFINE_bool("dry_run", False, "Print the plan with the estimated time; do nothing.")
flags.DEFINE_bool("finished", False, "Compute nothing; write what can be from what is there.")

# Measured on two cores, for estimates only: images trained and evaluations of an attack a second.
IMAGES_PER_SECOND, EVALUATIONS_PER_SECOND = 1500, 1500
OTHER_MEASURE_SECONDS = {"clean": 15, "downstream": 150}


def main():
    """Makes what is missing and writes the reports."""
    from trainers.studies import experiments, scales

    if FLAGS.list:
        for name, experiment in experiments.EXPERIMENTS.items():
            print(f"{name:12}{experiment.title}")
        terminal.suggest(_command("--experiment=figure3", "--scale=smoke"))
        return
    if not FLAGS.experiment:
        raise checks.invalid("experiment", "names, as --list shows them", FLAGS.experiment)
    names = list(experiments.EXPERIMENTS) if FLAGS.experiment == ["all"] else FLAGS.experiment
    for name in names:
        checks.one_of("experiment", name, experiments.EXPERIMENTS)
    checks.positive_integer("workers", FLAGS.workers)
    if FLAGS.executor == "ray":
        from trainers.studies import ray_executor

        checks.finite_number("ray_cpus", FLAGS.ray_cpus, above=0)
        checks.finite_number("ray_gpus", FLAGS.ray_gpus, minimum=0)
        ray_executor.check(FLAGS.ray_address)
    scale = scales.SCALES[FLAGS.scale]
    for name in names:
        experiment = experiments.EXPERIMENTS[name]
        own = experiment.datasets if FLAGS.scale == "paper" else experiment.here
        for dataset in FLAGS.dataset or own:
            if not FLAGS.finished:
                datasets.check(dataset, FLAGS.data_dir)
            zoo = scales.Zoo(scale, dataset, FLAGS.data_dir)
            directory = _reproduce(name, experiment, zoo)
    if FLAGS.dry_run:
        terminal.suggest(_command(*(word for word in sys.argv[1:] if "dry_run" not in word)))
    else:
        terminal.suggest(f"ls {shlex.quote(str(directory))}")


def _command(*arguments):
    return terminal.command("trainers.reproduce", *arguments)


def _reproduce(name, experiment, zoo):
    """Makes one experiment on one dataset: the directory of its tables and figures."""
    wanted = _merged(experiment.cells(zoo))
    _work_off(name, zoo, wanted)
    if experiment.then is not None:
        wanted = _merged([*wanted, *experiment.then(zoo, _findings(wanted))])
        _work_off(name, zoo, wanted)
    directory = pathlib.Path(FLAGS.results) / FLAGS.scale / f"{name}-{zoo.dataset}"
    if not FLAGS.dry_run:
        _write(name, experiment, zoo, wanted, directory)
    return directory


def _findings(wanted):
    program.import_tensorflow()
    from trainers.studies import study

    return study.Findings(FLAGS.store, wanted)


def _work_off(name, zoo, wanted):
    """Makes what is missing, or says what it would take."""
    from trainers.studies import cells

    left = {cell: cells.missing(FLAGS.store, cell) for cell in wanted}
    left = {cell: work for cell, work in left.items() if any(work)}
    seconds = {cell: _seconds(cell.model, *work) for cell, work in left.items()}
    print(
        f"{name} on {zoo.dataset}, {FLAGS.scale}: {len(wanted)} models, {len(left)} with work "
        f"left, about {_duration(sum(seconds.values()))}"
    )
    if FLAGS.dry_run:
        for cell, (is_untrained, measures) in left.items():
            kinds = [measure.name for measure in measures]
            work = ", ".join((["train"] if is_untrained else []) + kinds)
            print(f"  {cell.model.key}: {work} ({_duration(seconds[cell])})")
    elif not FLAGS.finished:
        _make(list(left))


def _merged(wanted):
    """One cell a model, with the measures of all that name it."""
    from trainers.studies.cells import Cell

    by_model = {}
    for cell in wanted:
        by_model.setdefault(cell.model, {}).update(dict.fromkeys(cell.measures))
    return [Cell(model, tuple(measures)) for model, measures in by_model.items()]


def _make(missing):
    from trainers.studies import executor, ray_executor

    progress = terminal.Progress(len(missing), 0, None, "model")
    done = itertools.count(1)

    def report(cell):
        progress.update(next(done), message=cell.model.key)

    if FLAGS.executor == "local":
        executor.work_off(FLAGS.store, missing, FLAGS.workers, report)
    elif missing:
        resources = FLAGS.ray_address, FLAGS.ray_cpus, FLAGS.ray_gpus
        ray_executor.work_off(FLAGS.store, missing, *resources, report)


def _write(name, experiment, zoo, wanted, directory):
    from trainers import provenance

    findings = _findings(wanted)
    from trainers.studies import reports, study

    if wanted and findings.unfinished == len(wanted):
        raise checks.invalid("store", f"finished work of {name} on {zoo.dataset}", FLAGS.store)
    report = reports.REPORTS[name](zoo, findings)
    study.write(
        report,
        directory,
        {
            "experiment": name,
            "title": experiment.title,
            "dataset": zoo.dataset,
            "command": f"python -m trainers.reproduce {' '.join(sys.argv[1:])}",
            "scale": {FLAGS.scale: zoo.scale._asdict()},
            "models": [{"member": c.model.member, "flags": c.model.flags()} for c in wanted],
            "unfinished_models": findings.unfinished,
            "seconds": round(findings.seconds),
            **provenance.describe(),
        },
    )
    note = f"; {findings.unfinished} models not finished" if findings.unfinished else ""
    print(f"  {directory}: {', '.join([*report.tables, *report.figures])}{note}")


def _seconds(model, is_untrained, measures):
    """Estimated seconds of what is missing of a cell."""
    images = model.option("steps", 0) * model.option("batch_size", 1024)
    seconds = images / IMAGES_PER_SECOND if is_untrained else 0.0
    for measure in measures:
        options = dict(measure.options)
        if measure.name in ("attack", "strongest"):
            batteries = len(options.get("objectives", [None])) * (1 + options.get("restarts", 0))
            evaluations = options["pairs"] * options["weights"] * options["max_evaluations"]
            seconds += batteries * evaluations / EVALUATIONS_PER_SECOND
        else:
            seconds += OTHER_MEASURE_SECONDS.get(measure.name, 10)
    return seconds / FLAGS.workers


def _duration(seconds):
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"


if __name__ == "__main__":
    program.start(main, DESCRIPTION, [program.SOME_FAILED])
