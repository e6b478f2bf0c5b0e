"""Batteries: all pairs × all λ of one attack on one model, stored as they are finished.

A battery's directory holds `battery.json` (its settings), `part-0000.npz` … (finished attacks:
every field of `AttackResult` and `Score`, the pair and λ), and, when all are there, `records.csv`,
a row an attack, which `pandas.read_csv` reads. What is there is never computed again.
"""

import csv
import hashlib
import json
import math
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from seatbelt_tf import checks, runs, tensors
from seatbelt_tf.attacks import diagnostics, scoring
from seatbelt_tf.attacks.attack import Attack, AttackResult, check_any_finite
from seatbelt_tf.attacks.box_result import Status
from seatbelt_tf.attacks.victim import Decodable
from seatbelt_tf.batches import l2_norms

IMAGE_FIELDS = ("adversarial", "distortion")
# What is unknown of an attack that could not begin, which would otherwise count as withstood.
OUTCOMES = ("loss", "divergence", "fresh_divergence", "target_loss", "closed_share")
# Of a part; one of a version that kept less is solved again.
_FIELDS = ("pair", "weight", "target_distance", *AttackResult._fields, *scoring.Score._fields)
_CHECKED_FIELDS = ("rows", "continued_loss", "first_order_loss")
# Raised with every change after which the same arguments lead to other results: what was found
# before is not taken for what would be found now.
METHOD = 1
# Attacks solved and stored together: fewer at once take longer, more are seldom reported and saved.
# All λ of a pair belong together, since they start each other.
ATTACKS_AT_ONCE = 200
# Of so many attacks one is gone on with and tried by a first-order method, too, as a check.
CHECKED_EVERY = 10
CHECKED_FILE = "checked_again.npz"


class Battery:
    """One attack on one model over pairs and weights.

    Args:
        victim: see `Attackable`; it needs a decoder.
        images: (P, H, W, C) images.
        targets: (P, H, W, C) targets, one an image.
        weights: (W,) λ.
        directory: parent of the battery's own directory.
        options: keyword arguments of `attack`, objective, layers, ancestors and seed among them.
        origin: JSON-compatible description of the victim and the pairs, part of the settings.

    Attributes:
        path: the battery's directory.
        scorer: `attacks.Scorer` with the draws that the records were scored with.

    Raises:
        ValueError: there are no pairs or no weights; see `attack`.
    """

    def __init__(
        self,
        victim: Decodable,
        images: np.ndarray,
        targets: np.ndarray,
        weights: np.ndarray | Sequence[float],
        directory: str | os.PathLike,
        options: dict[str, Any],
        origin: Any,
    ) -> None:
        if not len(images) or not len(weights):
            raise checks.invalid("pairs", "at least one pair and one weight", len(images))
        self.victim, self.images, self.targets = victim, images, targets
        self.weights, self.options = np.asarray(weights, np.float64), options
        self.settings = {
            "method": METHOD,
            "origin": origin,
            "pairs": len(images),
            "weights": self.weights.tolist(),
            "attack": options,
        }
        text = json.dumps(self.settings, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        layers = options["layers"]
        layers = layers if isinstance(layers, str) else "_".join(map(str, layers))
        name = f"{options['objective']}-{layers}-{options['ancestors']}-{digest}"
        self.path = pathlib.Path(directory) / name
        self.pairs_at_once = self._pairs_at_once()
        self._attack = Attack(victim, **options)
        self.scorer = scoring.Scorer(victim, options["seed"] + 2)

    def _pairs_at_once(self):
        """Pairs to a part: those that the battery was begun with."""
        settings = self.path / "battery.json"
        if not settings.exists():
            return max(1, ATTACKS_AT_ONCE // len(self.weights))
        stored = runs.read_json(settings)
        if not isinstance(stored, dict):
            raise checks.invalid(f"{settings}", "a JSON object", type(stored).__name__)
        found = stored.get("pairs_at_once")
        return checks.positive_integer(f"pairs_at_once of {settings}", found)

    def parts(self) -> list[tuple[pathlib.Path, np.ndarray]]:
        """The parts of the battery: (file, pairs of it)."""
        starts = range(0, len(self.images), self.pairs_at_once)
        return [
            (
                self.path / f"part-{start // self.pairs_at_once:04d}.npz",
                np.arange(start, min(start + self.pairs_at_once, len(self.images))),
            )
            for start in starts
        ]

    def run(self, report: Callable[[int], None]) -> dict[str, np.ndarray]:
        """Computes what is missing.

        Args:
            report: called with the number of finished attacks.

        Returns:
            The records: see `records`.
        """
        if not (self.path / "battery.json").exists():
            stored = {**self.settings, "pairs_at_once": self.pairs_at_once}
            runs.write_json(self.path / "battery.json", stored)
        pairs = dict(self.parts())
        whole = {path: tensors.load_whole(path, _FIELDS, set_aside=True) for path in pairs}
        for path in runs.unfinished(pairs):
            self._solve(path, pairs[path])
            # Of attacks that there are no more.
            (self.path / CHECKED_FILE).unlink(missing_ok=True)
            finished = [len(pairs[part]) for part in pairs if part.exists()]
            report(sum(finished) * len(self.weights))
        records = _joined(
            tensors.load(path) if arrays is None else arrays for path, arrays in whole.items()
        )
        check_any_finite(records["status"])
        _write_csv(self.path / "records.csv", records)
        return records

    def _solve(self, path, pairs):
        ids = np.repeat(pairs, len(self.weights))
        weights = np.tile(self.weights, len(pairs))
        images, targets = self.images[ids], self.targets[ids]
        result = self._attack(images, targets, weights, pair_ids=ids)
        score = self.scorer(images, targets, result.adversarial)
        gap = l2_norms(targets - images)
        fields = {"pair": ids, "weight": weights, "target_distance": gap}
        fields |= result._asdict() | score._asdict()
        tensors.save(path, fields, compressed=True)

    def records(self) -> dict[str, np.ndarray]:
        """All finished attacks: dict of field name to array, ordered by pair and weight.

        The fields of `AttackResult` and `Score`, "pair" (index), "weight" (λ) and
        "target_distance" (‖x_t − x‖₂). What attacks that could not begin came to is NaN.

        Raises:
            ValueError: none is finished.
        """
        whole = [tensors.load_whole(path, _FIELDS) for path, _ in self.parts()]
        finished = [part for part in whole if part is not None]
        if not finished:
            raise checks.invalid("battery", "a finished part (none is: see `run`)", f"{self.path}")
        return _joined(finished)

    def diagnose(
        self,
        records: Mapping[str, np.ndarray],
        areas: tuple[np.ndarray, np.ndarray],
        shown: Callable = iter,
    ) -> list[diagnostics.Diagnosis]:
        """All checks of `diagnostics`: list of `Diagnosis`.

        Args:
            records: of `run`.
            areas: two (P,), see `evaluation.distortion.areas`.
            shown: what the two computations that take long are passed through, to show progress.
        """
        found = diagnostics.diagnose(result_of(records), records["weight"], records["pair"])
        function = self._attack.divergence_and_gradient(self.targets)
        bounds = self.options.get("bounds", (-1.0, 1.0))
        found += diagnostics.gradient_checks(function, self.images, bounds)
        again = self._checked_again(records, shown)
        rows = again["rows"]
        loss, unattacked = records["loss"][rows], records["unattacked_divergence"][rows]
        return [
            *found,
            diagnostics.not_converged(loss, again["continued_loss"], unattacked),
            diagnostics.first_order_attack_better(loss, again["first_order_loss"], unattacked),
            diagnostics.weaker_than_blending(*areas),
        ]

    def _checked_again(self, records, shown):
        """Δ of a random part of the attacks after going on, and after a first-order attack."""
        path = self.path / CHECKED_FILE
        found = tensors.load_whole(path, _CHECKED_FIELDS, set_aside=True)
        if found is not None:
            return found
        for _ in runs.unfinished([path]):
            count = len(records["loss"])
            rng = np.random.default_rng(self.options["seed"])
            rows = np.sort(rng.choice(count, -(-count // CHECKED_EVERY), replace=False))
            computations = self._computed_again({n: values[rows] for n, values in records.items()})
            losses = {name: compute() for name, compute in shown(computations.items())}
            tensors.save(path, {"rows": rows, **losses}, compressed=True)
        return tensors.load(path)

    def _computed_again(self, records):
        """What `_checked_again` computes, by name: functions without arguments."""
        pairs = records["pair"]
        problem = self.images[pairs], self.targets[pairs], records["weight"]
        options = {**self.options, "optimizer": "adam", "restarts": 0}
        return {
            "continued_loss": lambda: self._attack.continued_loss(*problem, records["adversarial"]),
            "first_order_loss": lambda: Attack(self.victim, **options)(*problem).loss,
        }


def _joined(parts):
    """The records of finished parts: see `Battery.records`."""
    parts = list(parts)
    records = {name: np.concatenate([part[name] for part in parts]) for name in _FIELDS}
    failed = records["status"] == Status.NOT_FINITE
    outcomes = {name: np.where(failed, np.nan, records[name]) for name in OUTCOMES}
    return {**records, **outcomes}


def result_of(records: Mapping[str, np.ndarray]) -> AttackResult:
    """The `AttackResult` within records, see `Battery.records`: (B, …) arrays by name."""
    return AttackResult(**{name: records[name] for name in AttackResult._fields})


def summarise(records: Mapping[str, np.ndarray]) -> dict[str, float]:
    """What a battery found, in one dict of numbers.

    Args:
        records: dict of field name to (B, …), see `Battery.records`.

    Returns:
        attacks and the share of each status; of those with a finite loss: mean_loss (Δ averaged
        over λ, as in the paper's figures: at large λ it is the unattacked divergence),
        median_divergence_ratio (to d = 0), mean_closed_share (of pairs with a gap; NaN without
        any), mean_target_loss, mean_evaluations.
    """
    attacks, statuses = len(records["loss"]), records["status"]
    is_finite = np.isfinite(records["loss"])
    records = {name: values[is_finite] for name, values in records.items()}
    unattacked = np.maximum(np.abs(records["unattacked_divergence"]), 1e-12)
    closed = records["closed_share"][np.isfinite(records["closed_share"])]
    return {
        "attacks": attacks,
        "mean_loss": float(np.mean(records["loss"])),
        "median_divergence_ratio": float(np.median(records["divergence"] / unattacked)),
        "mean_closed_share": float(np.mean(closed)) if len(closed) else math.nan,
        "mean_target_loss": float(np.mean(records["target_loss"])),
        "mean_evaluations": float(np.mean(records["evaluations"])),
        **{f"share_{status.name.lower()}": float(np.mean(statuses == status)) for status in Status},
    }


def _write_csv(path, records):
    columns = [name for name in records if name not in IMAGE_FIELDS]
    with runs.replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*(records[name].tolist() for name in columns), strict=True))
