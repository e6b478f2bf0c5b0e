"""Independent references in float64 NumPy and SciPy, written from the papers' formulas."""

import itertools

import numpy as np
import scipy.stats


def total_correlation(samples, means, stddevs, dataset_size, estimator):
    """Loop over samples, posteriors and units: (M, d) arrays -> (M,), nats."""
    samples, means, stddevs = (np.asarray(a, np.float64) for a in (samples, means, stddevs))
    batch, units = samples.shape
    estimates = []
    for k in range(batch):
        joint, marginals = 0.0, np.zeros(units)
        for j in range(batch):
            if estimator == "mws":
                weight = 1 / batch
            elif j == k:
                weight = 1 / dataset_size
            else:
                weight = (dataset_size - 1) / dataset_size / (batch - 1)
            densities = scipy.stats.norm.pdf(samples[k], means[j], stddevs[j])
            joint += weight * np.prod(densities)
            marginals += weight * densities
        estimates.append(np.log(joint) - np.log(marginals).sum())
    return np.array(estimates)


class LinearGaussianHierarchy:
    """A linear decoder of all layers under linear-Gaussian priors, with its exact posterior.

    p(z^L) = Normal(0, I), p(z^i | z^(i+1)) = Normal(A_i z^(i+1) + b_i, diag(s_i²)),
    p(x | z) = Normal(W [z^1 … z^L] + c, noise² I).

    Args:
        latent_dims: units by layer, bottom first.
        pixels: dimension of x.
        noise: standard deviation of the likelihood.
        seed: of the random parameters.
    """

    def __init__(self, latent_dims, pixels, noise, seed):
        rng = np.random.default_rng(seed)
        self.dims, self.noise = latent_dims, noise
        self.weights = rng.normal(size=(pixels, sum(latent_dims))) / 2
        self.offset = rng.normal(size=pixels)
        self.maps, self.shifts, self.scales = [], [], []
        for below, above in itertools.pairwise(latent_dims):
            self.maps.append(rng.normal(size=(below, above)))
            self.shifts.append(rng.normal(size=below))
            self.scales.append(rng.uniform(0.3, 1.2, size=below))
        self.starts = np.cumsum([0, *latent_dims])
        self._make_joint()

    def _slice(self, layer):
        return slice(self.starts[layer], self.starts[layer + 1])

    def _make_joint(self):
        """Mean and covariance of (z, x), by pushing the prior down the chain."""
        total = self.starts[-1]
        mean, root = np.zeros(total), np.zeros((total, total))
        top = len(self.dims) - 1
        root[self._slice(top), self._slice(top)] = np.eye(self.dims[top])
        for layer in reversed(range(top)):
            here, above = self._slice(layer), self._slice(layer + 1)
            mean[here] = self.maps[layer] @ mean[above] + self.shifts[layer]
            root[here] = self.maps[layer] @ root[above]
            root[here, here] += np.diag(self.scales[layer])
        covariance = root @ root.T
        cross = covariance @ self.weights.T
        pixels = len(self.offset)
        self.mean = np.concatenate([mean, self.weights @ mean + self.offset])
        self.covariance = np.block(
            [
                [covariance, cross],
                [cross.T, self.weights @ cross + self.noise**2 * np.eye(pixels)],
            ]
        )

    def log_evidence(self, x):
        """log p(x): (M, pixels) -> (M,), nats."""
        latents = self.starts[-1]
        return scipy.stats.multivariate_normal(
            self.mean[latents:], self.covariance[latents:, latents:]
        ).logpdf(x)

    def sample(self, count, seed):
        """Images from the model: -> (count, pixels)."""
        rng = np.random.default_rng(seed)
        joint = rng.multivariate_normal(self.mean, self.covariance, size=count)
        return joint[:, self.starts[-1] :]

    def prior(self, layer, above):
        """p(z^i | z^(i+1)): (M, d_(i+1)) -> means and stddevs, (M, d_i) each."""
        mean = above @ self.maps[layer].T + self.shifts[layer]
        return mean, np.broadcast_to(self.scales[layer], mean.shape)

    def decode(self, latents):
        """Mean of p(x | z): list of (M, d_i) -> (M, pixels)."""
        return np.concatenate(latents, axis=1) @ self.weights.T + self.offset

    def posterior_given_below(self, layer, below, x):
        """The exact p(z^i | z^(i-1), x) [p(z^1 | x)]: means (M, d_i) and one covariance (d_i, d_i).

        By conditioning the joint Gaussian of everything on all layers below and x. Given z^(i-1)
        and x, the layers under it still matter because x depends on all layers, so the chain
        q(z^i | z^(i-1), x) is exact only when conditioned on all of z^1 … z^(i-1).

        Args:
            layer: 0 for z^1.
            below: list of the samples of all lower layers.
            x: (M, pixels).
        """
        here = np.arange(self.starts[layer], self.starts[layer + 1])
        given = np.r_[np.arange(self.starts[layer]), np.arange(self.starts[-1], len(self.mean))]
        observed = np.concatenate([*below, x], axis=1)
        gain = np.linalg.solve(
            self.covariance[np.ix_(given, given)], self.covariance[np.ix_(given, here)]
        ).T
        mean = self.mean[here] + (observed - self.mean[given]) @ gain.T
        covariance = (
            self.covariance[np.ix_(here, here)] - gain @ self.covariance[np.ix_(given, here)]
        )
        return mean, covariance


def area_reduce(image, size):
    """(h, h, C) -> (size, size, C): each new pixel averages those under it, by overlap."""
    old = image.shape[0]
    edges = np.arange(size + 1) * old / size
    starts = np.arange(old)
    overlap = np.minimum(edges[1:, None], starts + 1) - np.maximum(edges[:-1, None], starts)
    weights = np.clip(overlap, 0, None) * size / old
    return np.einsum("ia,jb,abc->ijc", weights, weights, image, optimize=True)
