"""One call that attacks many images at once."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from seatbelt_tf import checks, pixels
from seatbelt_tf.attacks import scoring, weight_path
from seatbelt_tf.attacks.box_result import Status
from seatbelt_tf.attacks.problem import Found, Problem
from seatbelt_tf.attacks.victim import Attackable, check_attackable, surrogate_of
from seatbelt_tf.batches import in_batches


class AttackResult(NamedTuple):
    """What an attack found; every field is a NumPy array with leading dimension B.

    Attributes:
        adversarial: (B, H, W, C) attacked images x + d, within the bounds.
        distortion: (B, H, W, C) d.
        loss: (B,) Δ = λ‖d‖₂ + divergence, as minimised; never above Δ at d = 0.
        divergence: (B,) the divergence part of Δ alone, as minimised.
        unattacked_divergence: (B,) the same at d = 0.
        fresh_divergence: (B,) the divergence part again, with ancestors drawn afresh.
        unattacked_fresh_divergence: (B,) the same at d = 0.
        distortion_norm: (B,) ‖d‖₂, pixels in [-1, 1].
        projected_gradient_norm: (B,) ‖P(x − ∇Δ) − x‖∞ at the result; at d = 0, where λ‖d‖₂ has
            no gradient, with the subgradient that makes it smallest.
        evaluations: (B,) int32 evaluations of Δ used, all starts together; a surrogate's Δ does
            not count.
        status: (B,) int32 `Status` of the start that won.
        first_loss: (B,) Δ after the attack's own first start, d = 0 or another λ's result: how
            much random restarts and the last exchange between λ gained.
    """

    adversarial: np.ndarray
    distortion: np.ndarray
    loss: np.ndarray
    divergence: np.ndarray
    unattacked_divergence: np.ndarray
    fresh_divergence: np.ndarray
    unattacked_fresh_divergence: np.ndarray
    distortion_norm: np.ndarray
    projected_gradient_norm: np.ndarray
    evaluations: np.ndarray
    status: np.ndarray
    first_loss: np.ndarray


def paper_weights(count: int = 50) -> np.ndarray:
    """The paper's weights λ: (count,) float64, geometric from 2^-20 to 2^20 (section 5)."""
    return np.geomspace(2.0**-20, 2.0**20, checks.positive_integer("count", count))


def attack(
    victim: Attackable,
    images: ArrayLike,
    targets: ArrayLike,
    weights: ArrayLike,
    objective: str = "latent_kl",
    layers: str | Sequence[int] = "all",
    ancestors: str = "mean",
    bounds: tuple[float, float] = (-1.0, 1.0),
    max_evaluations: int = 400,
    seed: int = 0,
    *,
    draws: int = 4,
    squared_norm: bool = False,
    restarts: int = 0,
    pair_ids: ArrayLike | None = None,
    optimizer: str = "lbfgs",
    memory: int | None = None,
    chunk_size: int = 500,
) -> AttackResult:
    """Finds distortions d that minimise Δ = λ‖d‖₂ + divergence (the paper's equations 1, 2, 10).

    All B attacks are solved together, each on its own: none depends on the others (but for
    `pair_ids`). The start is d = 0 (or what the same attack found on the victim's `surrogate`,
    where Δ is lower there), and the best point seen is returned, so that no result is worse than
    no attack.

    With `pair_ids` the λ path of a pair is searched from coarse to fine: every 2^k-th λ, at least
    six of them, with all evaluations; those in the middle between two of them from whatever point
    found for the pair is best under their own λ, with half of the evaluations; the middles that
    are left with half of those, and so on. At the end, where another λ's result is still better
    under an attack's own λ, it is minimised once more from there, with as many as the finest had.

    Args:
        victim: a `SeatbeltVAE`, a `Victim` or anything else that is `Attackable`.
        images: (B, H, W, C) images x to distort.
        targets: (B, H, W, C) images x_t to be taken for.
        weights: (B,) the paper's λ ≥ 0.
        objective: one of `objectives.names()`.
        layers: "all", "top", "bottom" or the indices of the attacked layers, 0 the bottom.
        ancestors: how q(z^i | x) gets its ancestors for i ≥ 2: at their "mean"; averaged over
            `draws` fixed draws, the same for all images and the whole minimisation ("sample"); or
            redrawn at every evaluation ("fresh"), those of the attacked image alone. The last is
            broken: a quasi-Newton method fails on a noisy function, and Δ stays above what the
            draws of the two ends differ by, which makes hierarchical models look robust. It is
            here only to reproduce and explain published figures.
        bounds: (lower, upper) of the pixels of x + d.
        max_evaluations: evaluations of Δ and its gradient allowed to each attack and start; to
            those from another λ's result fewer, see above.
        seed: of the ancestors' draws and the restarts.
        draws: number of draws S for "sample" and "fresh".
        squared_norm: λ‖d‖₂² in place of λ‖d‖₂.
        restarts: further starts from uniformly random distortions of up to a quarter of the
            bounds' width; the best result counts.
        pair_ids: (B,) integers, equal for attacks on the same images and targets that differ in λ
            only, which then start each other (warm starts along the λ path).
        optimizer: "lbfgs", "tfp", "scipy" or "adam": see `minimize_in_box`.
        memory: pairs that the quasi-Newton matrix remembers; None: the objective's own number.
        chunk_size: attacks solved at once, which bounds the memory.

    Returns:
        `AttackResult`.

    Raises:
        ValueError: shapes or lengths differ, images outside the bounds, negative or not finite λ,
            unknown names, no layers, a victim that is none, or one whose posteriors are finite for
            none of the images (an attack on one for which they are not ends with
            `Status.NOT_FINITE`, and leaves the others as they are).
    """
    run = Attack(
        victim,
        objective,
        layers,
        ancestors,
        bounds,
        max_evaluations,
        seed,
        draws=draws,
        squared_norm=squared_norm,
        restarts=restarts,
        optimizer=optimizer,
        memory=memory,
        chunk_size=chunk_size,
    )
    result = run(images, targets, weights, pair_ids)
    check_any_finite(result.status)
    return result


def check_any_finite(statuses: np.ndarray) -> None:
    """Raises ValueError if none of the attacks could begin."""
    if np.all(statuses == Status.NOT_FINITE):
        raise checks.invalid("victim", "finite posteriors", "no divergence is finite")


class Attack:
    """An attack set up once and traced once, for several batteries on one victim: see `attack`.

    A victim's `surrogate()` is made once, here: weights that change later change the victim alone.
    """

    def __init__(
        self,
        victim: Attackable,
        objective: str = "latent_kl",
        layers: str | Sequence[int] = "all",
        ancestors: str = "mean",
        bounds: tuple[float, float] = (-1.0, 1.0),
        max_evaluations: int = 400,
        seed: int = 0,
        *,
        draws: int = 4,
        squared_norm: bool = False,
        restarts: int = 0,
        optimizer: str = "lbfgs",
        memory: int | None = None,
        chunk_size: int = 500,
    ) -> None:
        check_attackable(victim)
        self._seed = checks.seed("seed", seed)
        self.problem = Problem(victim, objective, layers, ancestors, draws, seed, squared_norm)
        self._bounds = pixels.check_bounds(bounds)
        self._restarts = checks.whole_number("restarts", restarts)
        self._chunk_size = checks.positive_integer("chunk_size", chunk_size)
        self._max_evaluations = checks.positive_integer("max_evaluations", max_evaluations)
        self._options: dict[str, Any] = {"optimizer": optimizer, "memory": memory}
        self._fresh_divergence = scoring.FreshDivergence(
            victim, objective, self.problem.layers, seed + 1
        )
        surrogate = surrogate_of(victim)
        self._surrogate: Attack | None = None
        if surrogate is not None:
            self._surrogate = Attack(
                surrogate,
                objective,
                self.problem.layers,
                bounds=bounds,
                seed=seed,
                squared_norm=squared_norm,
                chunk_size=chunk_size,
                max_evaluations=max_evaluations,
                **self._options,
            )

    def __call__(
        self,
        images: ArrayLike,
        targets: ArrayLike,
        weights: ArrayLike,
        pair_ids: ArrayLike | None = None,
    ) -> AttackResult:
        """Attacks the images: arguments of `attack` -> `AttackResult`."""
        images, targets, weights = _check_arguments(
            self.problem.victim, images, targets, weights, self._bounds
        )
        if pair_ids is not None and np.shape(pair_ids) != weights.shape:
            raise checks.invalid("pair_ids.shape", weights.shape, np.shape(pair_ids))
        pair_ids = None if pair_ids is None else np.asarray(pair_ids)
        best, first_loss = self._search(images, targets, weights, pair_ids)
        return AttackResult(
            distortion=best.adversarial - images,
            fresh_divergence=self._fresh_divergence(best.adversarial, targets),
            unattacked_fresh_divergence=self._fresh_divergence.of_pairs(images, targets),
            first_loss=first_loss,
            **best._asdict(),
        )

    def _search(self, images, targets, weights, pair_ids):
        """The best of all starts as `Found`, and Δ after the first."""
        best = self._before(images, targets, weights, pair_ids)

        def solve(rows, starts, limit):
            chosen = images[rows], targets[rows], weights[rows], starts
            return self._solve(*chosen, max_evaluations=limit)

        for depth, rows in enumerate(weight_path.levels(pair_ids, weights)):
            limit = max(1, self._max_evaluations >> depth)
            sources = weight_path.best_of_pair(best, pair_ids, weights, self.problem)
            found = solve(rows, best.adversarial[sources[rows]], limit)
            for field in Found._fields:
                getattr(best, field)[rows] = getattr(found, field)
        first_loss = best.loss.copy()
        everything = np.arange(len(images))
        rng = np.random.default_rng(self._seed)
        width = self._bounds[1] - self._bounds[0]
        size = width / 4 if np.isfinite(width) else 0.5
        for _ in range(self._restarts):
            distortions = rng.uniform(-size, size, images.shape).astype(np.float32)
            starts = np.clip(images + distortions, *self._bounds)
            weight_path.keep_better(
                best, everything, solve(everything, starts, self._max_evaluations)
            )
        sources = weight_path.best_of_pair(best, pair_ids, weights, self.problem)
        rows = np.flatnonzero(sources != everything)
        if len(rows):
            weight_path.keep_better(best, rows, solve(rows, best.adversarial[sources[rows]], limit))
        return best, first_loss

    def _before(self, images, targets, weights, pair_ids):
        """`Found` before any search: d = 0, or the surrogate's attack where that has a lower Δ."""

        def at(points):
            arrays = (images, targets, weights, points)
            return in_batches(self.problem.unsolved, *arrays, size=self._chunk_size)

        best = at(images)
        if self._surrogate is not None:
            transferred, _ = self._surrogate._search(images, targets, weights, pair_ids)
            weight_path.keep_better(best, np.arange(len(images)), at(transferred.adversarial))
        return best

    def continued_loss(
        self, images: ArrayLike, targets: ArrayLike, weights: ArrayLike, adversarial: ArrayLike
    ) -> np.ndarray:
        """Δ (B,) after as many evaluations again, from attacked images that were found before."""
        images, targets, weights = _check_arguments(
            self.problem.victim, images, targets, weights, self._bounds
        )
        arrays = images, targets, weights, adversarial
        return self._solve(*arrays, max_evaluations=self._max_evaluations).loss

    def _solve(self, *arrays, max_evaluations):
        """`Problem.minimize` of images, targets, weights and starts, chunk by chunk: -> `Found`."""
        minimize = functools.partial(
            self.problem.minimize,
            bounds=self._bounds,
            max_evaluations=max_evaluations,
            **self._options,
        )
        return in_batches(minimize, *arrays, size=self._chunk_size)

    def divergence_and_gradient(
        self, targets: np.ndarray
    ) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
        """The divergence part of Δ towards given targets, as the attacker sees it.

        Args:
            targets: (B, H, W, C).

        Returns:
            A function of (B, H, W, C) images that gives (B,) values and (B, H, W, C) gradients,
            NumPy.
        """
        problem = self.problem
        prepare, function = (
            problem.compiled(method) for method in (problem.prepare, problem.value_and_gradient)
        )
        prepared = in_batches(prepare, targets, size=self._chunk_size)
        return lambda images: in_batches(function, images, prepared, size=self._chunk_size)


def _check_arguments(
    victim: Attackable,
    images: ArrayLike,
    targets: ArrayLike,
    weights: ArrayLike,
    bounds: tuple[float, float],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    images = pixels.check_within(images, victim.image_shape, bounds)
    targets = pixels.check_within(targets, victim.image_shape, bounds, "targets")
    weights = np.asarray(weights, np.float64)
    if len({len(images), len(targets), *weights.shape}) != 1 or weights.ndim != 1:
        raise checks.invalid(
            "weights.shape",
            "one weight and one target an image",
            f"{weights.shape} for {len(images)} images and {len(targets)} targets",
        )
    if not np.all(np.isfinite(weights)) or np.any(weights < 0):
        raise checks.invalid("weights", "finite numbers of at least 0", repr(weights))
    return images, targets, weights
