"""The Seatbelt-VAE in PyTorch: the peer that `benchmarks.train_step` times ours against.

The same layers, paddings and objective as `seatbelt_tf` (mixed KL estimator, free bits, total
correlation by minibatch weighted sampling), written as a PyTorch user would write them. A 4×4
convolution of stride 2 with TensorFlow's SAME padding pads one pixel on every side of an even
image, so `padding=1` is exact.
"""

import ctypes
import math
import time

import torch
from torch import nn
from torch.nn import functional

SMALLEST_STDDEV = 1e-4
# Keras's defaults, which differ from PyTorch's.
LEAKY_SLOPE, NORMALISATION_EPSILON, NORMALISATION_MOMENTUM, ADAM_EPSILON = 0.3, 1e-3, 0.01, 1e-7


class Head(nn.Module):
    """Mean and standard deviation of a diagonal Gaussian: (M, f) -> two of (M, d)."""

    def __init__(self, inputs, units):
        super().__init__()
        self.mean = nn.Linear(inputs, units)
        self.raw_stddev = nn.Linear(inputs, units)

    def forward(self, features):
        # Densities need float32 also where the networks run in bfloat16.
        with torch.autocast("cpu", enabled=False):
            features = features.float()
            stddev = functional.softplus(self.raw_stddev(features)) + SMALLEST_STDDEV
            return self.mean(features), stddev


def conditional_mlp(inputs, width):
    """Two hidden layers with batch normalisation: (M, inputs) -> (M, width)."""
    layers = []
    for incoming in (inputs, width):
        layers += [
            nn.Linear(incoming, width, bias=False),
            nn.BatchNorm1d(width, NORMALISATION_EPSILON, NORMALISATION_MOMENTUM),
            nn.LeakyReLU(LEAKY_SLOPE),
        ]
    return nn.Sequential(*layers)


class Peer(nn.Module):
    """The model and its loss.

    Args:
        image_shape: (H, W, C).
        filters: of the encoder's convolutions, the last one 'valid' over what is left.
        latent_dims: units by layer, bottom first.
        widths: of the conditional MLPs, bottom first.
        beta: weight of the total correlation.
        free_bits: nats a unit of the layers below the top.
        scale: standard deviation of p(x | z).
    """

    def __init__(self, image_shape, filters, latent_dims, widths, beta, free_bits, scale):
        super().__init__()
        self.beta, self.free_bits, self.scale = beta, free_bits, scale
        *halving, features = filters
        left = image_shape[0] >> len(halving)
        encoder, incoming = [], image_shape[2]
        for count in halving:
            encoder += [nn.Conv2d(incoming, count, 4, 2, 1), nn.ReLU()]
            incoming = count
        encoder += [nn.Conv2d(incoming, features, left), nn.ReLU(), nn.Flatten()]
        self.encoder = nn.Sequential(*encoder)
        decoder = [nn.ConvTranspose2d(sum(latent_dims), features, 1), nn.ReLU()]
        decoder += [nn.ConvTranspose2d(features, halving[-1], left), nn.ReLU()]
        incoming = halving[-1]
        for count in halving[-2::-1]:
            decoder += [nn.ConvTranspose2d(incoming, count, 4, 2, 1), nn.ReLU()]
            incoming = count
        decoder.append(nn.ConvTranspose2d(incoming, image_shape[2], 4, 2, 1))
        self.decoder = nn.Sequential(*decoder)
        self.posterior_networks, self.prior_networks = nn.ModuleList(), nn.ModuleList()
        self.posterior_heads = nn.ModuleList([Head(features, latent_dims[0])])
        self.prior_heads = nn.ModuleList()
        for below, units, width in zip(latent_dims[:-1], latent_dims[1:], widths, strict=False):
            self.posterior_networks.append(conditional_mlp(below + features, width))
            self.posterior_heads.append(Head(width, units))
            self.prior_networks.append(conditional_mlp(units, width))
            self.prior_heads.append(Head(width, below))

    def forward(self, images, noise):
        """The loss of equation 9: (M, C, H, W) images, (M, d_i) noise by layer -> ()."""
        features = self.encoder(images)
        posteriors, samples = [], []
        for layer, head in enumerate(self.posterior_heads):
            hidden = features
            if layer > 0:
                hidden = torch.cat([samples[-1].to(features.dtype), features], dim=1)
                hidden = self.posterior_networks[layer - 1](hidden)
            mean, stddev = head(hidden)
            posteriors.append((mean, stddev))
            samples.append(mean + stddev * noise[layer])
        decoded = self.decoder(torch.cat(samples, dim=1)[:, :, None, None]).float()
        constant = math.log(self.scale) + 0.5 * math.log(2 * math.pi)
        pixels = images[0].numel()
        squares = torch.square((images - decoded) / self.scale).sum() / len(images)
        loss = 0.5 * squares + pixels * constant
        for layer, (network, head) in enumerate(
            zip(self.prior_networks, self.prior_heads, strict=True)
        ):
            prior = head(network(samples[layer + 1]))
            ratio = log_density(samples[layer], *posteriors[layer])
            ratio = ratio - log_density(samples[layer], *prior)
            loss = loss + torch.clamp(ratio.mean(dim=0), min=self.free_bits).sum()
        mean, stddev = posteriors[-1]
        top = 0.5 * (mean**2 + stddev**2 - 1) - torch.log(stddev)
        correlation = total_correlation(samples[-1], mean, stddev)
        return loss + top.mean(dim=0).sum() + (self.beta - 1) * correlation.mean()


def log_density(value, mean, stddev):
    """log Normal(value; mean, stddev²) without the constant, which cancels in ratios."""
    return -0.5 * torch.square((value - mean) / stddev) - torch.log(stddev)


def total_correlation(samples, means, stddevs):
    """Minibatch weighted sampling, normalised weights: (M, d) three times -> (M,) nats."""
    log_size = math.log(len(samples))
    # Units first: the sums over the posteriors then run along contiguous memory.
    samples, means, stddevs = (t.T.contiguous() for t in (samples, means, stddevs))
    densities = log_density(samples[:, :, None], means[:, None], stddevs[:, None])
    joint = torch.logsumexp(densities.sum(dim=0), dim=1)
    marginals = torch.logsumexp(densities, dim=2)
    return joint - marginals.sum(dim=0) + (len(samples[:, 0]) - 1) * log_size


def keep_freed_memory(is_kept):
    """Whether glibc keeps large freed blocks instead of returning them to the system.

    PyTorch allocates every activation anew; without this each step pays for fresh pages of all of
    them. TensorFlow's own allocator keeps its memory either way.
    """
    trim_threshold, mmap_max = -1, -4
    glibc = ctypes.CDLL(None)
    glibc.mallopt(mmap_max, 0 if is_kept else 65536)
    glibc.mallopt(trim_threshold, 2**31 - 1 if is_kept else 128 * 1024)


def make_step(peer, images, *, adam, channels_last, compiled, keep_memory, autocast):
    """A function of a number of steps that trains `peer` on one batch and returns the seconds.

    Args:
        peer: a `Peer`.
        images: (M, C, H, W) tensor.
        adam: "fused" or "foreach".
        channels_last: memory format of the images and the convolutions.
        compiled: whether `torch.compile` compiles the loss.
        keep_memory: see `keep_freed_memory`.
        autocast: whether the networks run in bfloat16.
    """
    memory = torch.channels_last if channels_last else torch.contiguous_format
    peer = peer.to(memory_format=memory)
    images = images.contiguous(memory_format=memory)
    optimizer = torch.optim.Adam(peer.parameters(), lr=1e-3, eps=ADAM_EPSILON, **{adam: True})
    loss_of = torch.compile(peer) if compiled else peer
    units = [head.mean.out_features for head in peer.posterior_heads]

    def run(steps):
        keep_freed_memory(keep_memory)
        start = time.perf_counter()
        for _ in range(steps):
            noise = [torch.randn(len(images), count) for count in units]
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
                loss = loss_of(images, noise)
            loss.backward()
            optimizer.step()
        loss.item()
        return time.perf_counter() - start

    return run
