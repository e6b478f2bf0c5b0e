"""Every figure and table of the paper by name: `python -m trainers.reproduce --help`."""

import itertools
import os
import pathlib
import shlex
import sys
from typing import NamedTuple

from absl import flags

from seatbelt_tf import checks, datasets, runs, storage, tensors
from trainers import common_flags, kept, program, provenance, terminal
from trainers.studies import cells, estimate, executor, experiments, ray_executor, scales
from trainers.studies.zoo import Zoo

DESCRIPTION = """
Repeats the paper's figures and tables: trains the models of a study, attacks and measures them, and
writes tables, figures and a record of how they came about to RESULTS/SCALE/EXPERIMENT-DATASET, and
one table of all to RESULTS/SCALE/README.md.
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
  PROGRAM --experiment=defences --finished --published=results/measured
"""

FLAGS = flags.FLAGS
flags.DEFINE_list("experiment", None, "Names, or all; --list shows them.")
flags.DEFINE_bool("list", False, "Name the experiments and stop.")
flags.DEFINE_list("dataset", None, "One or more, in place of the experiment's own.")
flags.DEFINE_enum("scale", "cpu", ["smoke", "cpu", "paper"], "Size of models and attacks.")
common_flags.define_data_dir()
common_flags.define_directory("store", "Where models and measures are kept.", "runs/studies")
common_flags.define_directory("results", "Where tables and figures go.", "results/reproduction")
common_flags.define_directory(
    "published",
    "Folder that every measurement is copied to, a few MB without models; what is there counts as "
    "done, so that a study can go on, or its tables be made, where its store is not.",
)
flags.DEFINE_enum(
    "executor",
    None,
    ["local", "processes", "ray"],
    "local: one model after another; processes: --workers of them at once; ray: tasks on a Ray "
    "cluster. Default: processes with --workers, otherwise local.",
)
flags.DEFINE_integer(
    "workers", None, "Processes of --executor=processes, each with a model. Default: the cores."
)
flags.DEFINE_string("ray_address", "auto", "host:port of the cluster's head; auto: this one's.")
flags.DEFINE_float("ray_cpus", 1.0, "Cores that a model takes on a Ray cluster.")
flags.DEFINE_float("ray_gpus", 0.0, "Accelerators that a model takes on a Ray cluster.")
flags.DEFINE_bool("dry_run", False, "Print the plan with the estimated time; do nothing.")
flags.DEFINE_bool("finished", False, "Compute nothing; write what can be from what is there.")


def main():
    """Makes what is missing and writes the reports."""
    if FLAGS.list:
        for name, experiment in experiments.EXPERIMENTS.items():
            print(f"{name:12}{experiment.title}")
        terminal.suggest(_command("--experiment=figure3", "--scale=smoke"))
        return
    if not FLAGS.experiment:
        raise checks.invalid("experiment", "names, as --list shows them", FLAGS.experiment)
    names = list(experiments.EXPERIMENTS) if FLAGS.experiment == ["all"] else FLAGS.experiment
    names = list(dict.fromkeys(names))
    for name in names:
        checks.one_of("experiment", name, experiments.EXPERIMENTS)
    _workers()
    if FLAGS.executor == "ray":
        checks.finite_number("ray_cpus", FLAGS.ray_cpus, above=0)
        checks.finite_number("ray_gpus", FLAGS.ray_gpus, minimum=0)
        ray_executor.check(FLAGS.ray_address)
    for name in ("ray_address", "ray_cpus", "ray_gpus"):
        if FLAGS[name].present and FLAGS.executor != "ray":
            raise checks.invalid(name, "--executor=ray beside it", FLAGS[name].value)
    _check_places()
    data_dir = FLAGS.data_dir
    if FLAGS.executor == "ray" and data_dir is not None:
        # Workers have another working directory.
        data_dir = os.path.abspath(data_dir)
    scale = scales.SCALES[FLAGS.scale]
    studies = []
    for name in names:
        experiment = experiments.EXPERIMENTS[name]
        own = experiment.datasets if FLAGS.scale == "paper" else experiment.here
        for dataset in dict.fromkeys(FLAGS.dataset or own):
            if not experiment.takes(dataset):
                _refuse(name, experiment, dataset)
                continue
            if not FLAGS.finished:
                datasets.check(dataset, FLAGS.data_dir)
            models = Zoo(scale, dataset, data_dir)
            studies.append(_Study(name, experiment, models, experiment.cells(models)))
    failed = []
    written = _reproduce([study for study in studies if study.experiment.then is None], failed)
    for study in studies:
        if study.experiment.then is not None:
            if not _make(_plan([study]), failed):
                written += _write(study)
                continue
            further = study.experiment.then(study.zoo, _findings(study.cells))
            # Before its end tuning has chosen nothing, and the plan was told.
            if further or not FLAGS.dry_run:
                study = study._replace(cells=[*further, *study.cells])
                written += _reproduce([study], failed)
    if failed:
        raise program.StopError("; ".join(failed), program.SOME_FAILED)
    if FLAGS.dry_run:
        own = {"--dry_run", "-dry_run"}
        words = (word for word in sys.argv[1:] if word.split("=")[0] not in own)
        terminal.suggest(_command(*words))
        return
    if not written:
        raise checks.invalid("store", f"finished work of {', '.join(names)}", FLAGS.store)
    terminal.suggest(f"cat {shlex.quote(str(_results() / 'README.md'))}")


def _check_places():
    """Refuses places that cannot be written to, before there is anything to write."""
    storage.check_place("results", FLAGS.results)
    for name in ("store", "published"):
        place = FLAGS[name].value
        # Tables can be made of what others keep where only they may write.
        if place is not None and not (FLAGS.finished and os.path.isdir(place)):
            storage.check_place(name, place)


def _refuse(name, experiment, dataset):
    """Says that an experiment cannot be made of a dataset; an error unless all were asked for."""
    taken = ", ".join(experiment.only) or "images"
    if FLAGS.experiment != ["all"]:
        raise checks.invalid("dataset", f"one that {name} can be made of: {taken}", repr(dataset))
    print(f"{name} is left out on {dataset}: it can be made of {taken}")


def _results():
    return pathlib.Path(FLAGS.results) / FLAGS.scale


def _command(*arguments):
    return terminal.command("trainers.reproduce", *arguments)


class _Study(NamedTuple):
    """One experiment on one dataset: its name, `Experiment`, `Zoo` and cells."""

    name: str
    experiment: object
    zoo: object
    cells: list


def _reproduce(studies, failed):
    """Makes what is missing of all, each model once, and writes each as soon as it is complete.

    Args:
        studies: list of `_Study`.
        failed: see `_make`.

    Returns:
        How many were written.
    """
    left = _plan(studies)
    if FLAGS.dry_run:
        return 0
    models, unwritten, written = {cell.model for cell in left}, list(studies), 0

    def write_complete():
        nonlocal written
        for study in list(unwritten):
            if not models.intersection(cell.model for cell in study.cells):
                unwritten.remove(study)
                written += _write(study)

    def done(cell):
        models.remove(cell.model)
        write_complete()

    for study in () if FLAGS.finished else studies:
        _make_files(study)
    write_complete()
    _make(left, failed, done)
    return written + sum(map(_write, unwritten))


def _plan(studies):
    """Says what is missing: -> cells with work left, one a model."""
    everything = {}
    for study in studies:
        wanted, left = cells.merged(study.cells), {}
        for cell in wanted:
            _publish(cell)
            is_untrained, measures = cells.missing(FLAGS.store, cell, FLAGS.published)
            if is_untrained or measures:
                left[cell._replace(measures=measures)] = is_untrained, measures
        _say(study, len(wanted), left)
        everything |= left
    return cells.merged(everything)


def _publish(cell):
    if FLAGS.published is not None and not FLAGS.dry_run:
        cells.publish(FLAGS.store, cell, FLAGS.published)


def _say(study, total, left):
    """What a study would take: the dict of cells to what `cells.missing` says of them."""
    workers = _workers()
    seconds = {cell: estimate.seconds(cell.model, *left[cell]) / workers for cell in left}
    files = study.experiment.files(study.zoo, FLAGS.store)
    missing = [path for path in files if tensors.load_whole(path) is None]
    duration = sum(seconds.values()) + estimate.FILE_SECONDS * len(missing)
    print(
        f"{study.name} on {study.zoo.dataset}, {FLAGS.scale}: {total + len(files)} models, "
        f"{len(left) + len(missing)} with work left, about {estimate.in_words(duration)}"
    )
    if FLAGS.dry_run:
        for path in missing:
            print(f"  {path.parent.name}-{path.stem}: train")
        for cell, (is_untrained, measures) in left.items():
            kinds = [measure.name for measure in measures]
            work = ", ".join((["train"] if is_untrained else []) + kinds)
            print(f"  {cell.model.key}: {work} ({estimate.in_words(seconds[cell])})")


def _make(left, failed, done=None):
    """Makes cells, saying how far it is.

    Args:
        left: list of `Cell`.
        failed: list that gets the message when some cannot be made; the others are by then.
        done: called with each that is made, if given.

    Returns:
        Whether none failed.
    """
    if FLAGS.dry_run or FLAGS.finished or not left:
        return True
    print(f"what trainings say: {FLAGS.store}/logs")
    progress = terminal.Progress(len(left), 0, None, "model")
    numbers = itertools.count(1)

    def report(cell):
        _publish(cell)
        progress.update(next(numbers), message=cell.model.key)
        if done is not None:
            done(cell)

    try:
        if FLAGS.executor == "ray":
            resources = FLAGS.ray_address, FLAGS.ray_cpus, FLAGS.ray_gpus
            ray_executor.work_off(FLAGS.store, left, *resources, report)
        else:
            executor.work_off(FLAGS.store, left, _workers(), report)
    except program.StopError as stop:
        if stop.status != program.SOME_FAILED:
            raise
        failed.append(str(stop))
        return False
    return True


def _workers():
    """How many models are worked on at once on this machine."""
    if FLAGS.workers is None:
        return len(os.sched_getaffinity(0)) if FLAGS.executor == "processes" else 1
    if FLAGS.executor not in (None, "processes"):
        received = f"--executor={FLAGS.executor}"
        raise checks.invalid("workers", "--executor=processes beside it", received)
    return checks.positive_integer("workers", FLAGS.workers)


def _findings(wanted):
    program.import_tensorflow(exact=True)
    from trainers.studies import study

    return study.Findings(FLAGS.store, cells.merged(wanted), FLAGS.published)


def _make_files(study):
    """Makes what a study is made of beside cells, saying how far it is."""
    files = study.experiment.files(study.zoo, FLAGS.store)
    missing = [path for path in files if tensors.load_whole(path, set_aside=True) is None]
    if not missing:
        return
    terminal.say("loading TensorFlow")
    program.import_tensorflow(exact=True)
    progress = terminal.Progress(len(missing), 0, None, f"{study.name}: model")
    for path in runs.unfinished(missing):
        kept.keep(path, files[path])
        progress.update(sum(made.exists() for made in missing))


def _write(study):
    """Writes tables, figures and record from what is finished: -> whether anything is."""
    terminal.say(f"writing {study.name} on {study.zoo.dataset}")
    findings = _findings(study.cells)
    from trainers.studies import overview, reports
    from trainers.studies import study as writing

    name, zoo, wanted = study.name, study.zoo, cells.merged(study.cells)
    report = None
    if not (wanted and findings.is_empty):
        report = reports.REPORTS[name](zoo, findings)
    if report is None:
        print(f"  nothing finished of {name} on {zoo.dataset}")
        return False
    # What rests on measures that are not finished is empty.
    report = report._replace(
        tables={title: rows for title, rows in report.tables.items() if rows},
        figures={title: figure for title, figure in report.figures.items() if figure is not None},
    )
    directory = _results() / overview.name(name, zoo.dataset)
    writing.write(
        report,
        directory,
        {
            "experiment": name,
            "title": study.experiment.title,
            "paper": report.paper,
            "ours": report.ours,
            "dataset": zoo.dataset,
            "command": f"python -m trainers.reproduce --experiment={name} --dataset={zoo.dataset} "
            f"--scale={FLAGS.scale}{' --data_dir=DATA_DIR' if FLAGS.data_dir else ''}",
            "scale": {FLAGS.scale: zoo.scale._replace(defences=())._asdict()},
            "models": [{"member": c.model.member, "flags": c.model.flags()} for c in wanted],
            "unfinished_models": findings.unfinished,
            "seconds": round(findings.seconds),
            **provenance.describe(),
        },
    )
    overview.write(_results())
    note = f"; {findings.unfinished} models not finished" if findings.unfinished else ""
    print(f"  {directory}: {', '.join([*report.tables, *report.figures])}{note}", flush=True)
    return True


if __name__ == "__main__":
    program.start(main, DESCRIPTION, [program.SOME_FAILED])
