"""Results that are computed once: files named by what they depend on, and by the model's weights.

A file of another model or other settings has another name, and so is never taken for it.
"""

import hashlib
import json
import time

import numpy as np

from seatbelt_tf import runs, tensors


def digest(settings):
    """A short hash of JSON-compatible settings."""
    text = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def file_of(run, name, settings):
    """The file of a measure of a trained run.

    Args:
        run: a `runs.Run`.
        name: the measure's.
        settings: JSON-compatible dict of everything but the model that the result depends on.
    """
    described = {"measure": name, "model": run.model_digest(), **settings}
    return run.evaluation / f"{name}-{digest(described)}.npz"


def keep(path, compute):
    """Stores what `compute()` returns, a dict of arrays, and the seconds that it took."""
    started = time.monotonic()
    arrays = compute()
    tensors.save(path, {**arrays, "seconds": np.float64(time.monotonic() - started)})


def once(run, name, settings, fields, compute):
    """What `compute()` returns, from its file once that is there.

    Args:
        run: a `runs.Run`.
        name: of the file.
        settings: JSON-compatible dict of everything but the model that the result depends on.
        fields: names of the arrays.
        compute: returns a dict of them.

    Returns:
        Dict of arrays by name.
    """
    path = file_of(run, f"report_{name}", settings)
    found = tensors.load_whole(path, [*fields, "seconds"], set_aside=True)

    def chosen():
        arrays = compute()
        return {field: arrays[field] for field in fields}

    if found is None:
        for _ in runs.unfinished([path]):
            keep(path, chosen)
        found = tensors.load(path)
    return {field: found[field] for field in fields}
