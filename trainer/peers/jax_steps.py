"""Times JAX's training steps on the paper's networks, for steps.go beside this file.

    jax_steps.py NETWORK IMAGES LABELS SECONDS BATCHES

Arguments and output are those of pytorch.py. Steps are compiled by jit, Adam is optax's, on one thread.
"""
import os
import sys
import time

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

import jax
import numpy
import optax
from jax import lax
from jax import numpy as jnp

network, images, labels, seconds, batches = sys.argv[1:6]
images = numpy.fromfile(images, numpy.uint8).reshape(-1, 28, 28, 1).astype(numpy.float32) / 255
labels = numpy.fromfile(labels, numpy.uint8).astype(numpy.int32)
relu, sigmoid = jax.nn.relu, jax.nn.sigmoid

ENCODER = [(3, 3, 1, 8), (3, 3, 8, 16), (3, 3, 16, 32), (288, 64), (64, 16)]
DECODER = [(16, 64), (64, 288), (3, 3, 32, 16), (3, 3, 16, 8), (3, 3, 8, 1)]
VARIATIONAL = [
    (4, 4, 1, 64), (4, 4, 64, 128), (6272, 16), (6272, 16), (16, 6272), (4, 4, 128, 64), (4, 4, 64, 1),
]
HEAD = [(16, 64), (64, 10)]


def layers(shapes, seed):
    keys = jax.random.split(jax.random.key(seed), len(shapes))
    return [(0.05 * jax.random.normal(key, shape), jnp.zeros(shape[-1])) for key, shape in zip(keys, shapes)]


def convolve(x, layer, padding, dilation=1):
    """A convolution with stride 2, or a transposed one as a convolution of a dilated input."""
    stride = 2 if dilation == 1 else 1
    y = lax.conv_general_dilated(
        x, layer[0], (stride, stride), [padding, padding], lhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return y + layer[1]


def dense(x, layer):
    return x @ layer[0] + layer[1]


def encode(p, x):
    x = relu(convolve(x, p[0], (1, 1)))
    x = relu(convolve(x, p[1], (1, 1)))
    x = relu(convolve(x, p[2], (0, 0))).reshape(len(x), -1)
    return dense(relu(dense(x, p[3])), p[4])


def decode(p, z):
    x = relu(dense(relu(dense(z, p[0])), p[1])).reshape(-1, 3, 3, 32)
    x = relu(convolve(x, p[2], (2, 2), 2))
    x = relu(convolve(x, p[3], (1, 2), 2))
    return sigmoid(convolve(x, p[4], (1, 2), 2))


def autoencoder_loss(p, x, _, __):
    return jnp.mean((decode(p[5:], encode(p[:5], x)) - x) ** 2)


def variational_loss(p, x, _, key):
    h = relu(convolve(x, p[0], (1, 1)))
    h = relu(convolve(h, p[1], (1, 1))).reshape(len(x), -1)
    mean, log_variance = dense(h, p[2]), dense(h, p[3])
    z = mean + jax.random.normal(key, mean.shape) * jnp.exp(0.5 * log_variance)
    h = relu(dense(z, p[4])).reshape(-1, 7, 7, 128)
    h = relu(convolve(h, p[5], (2, 2), 2))
    y = sigmoid(convolve(h, p[6], (2, 2), 2))
    divergence = 0.5 * jnp.sum(mean * mean + jnp.exp(log_variance) - log_variance - 1)
    return (jnp.sum((y - x) ** 2) + divergence) / len(x)


frozen = layers(ENCODER, 2)


def classifier_loss(p, x, y, _):
    codes = x if network == "classifier-on-codes" else lax.stop_gradient(encode(frozen, x))
    scores = dense(relu(dense(codes, p[0])), p[1])
    return optax.softmax_cross_entropy_with_integer_labels(scores, y).mean()


shapes, loss = {
    "autoencoder": (ENCODER + DECODER, autoencoder_loss),
    "variational": (VARIATIONAL, variational_loss),
}.get(network, (HEAD, classifier_loss))
optimizer = optax.chain(optax.add_decayed_weights(1e-5), optax.adam(1e-3))


@jax.jit
def step(p, state, x, y, key):
    gradients = jax.grad(loss)(p, x, y, key)
    updates, state = optimizer.update(gradients, state, p)
    return optax.apply_updates(p, updates), state


def images_per_second(x, batch):
    p = layers(shapes, 1)
    state, key = optimizer.init(p), jax.random.key(3)
    order = numpy.random.default_rng(1).permutation(len(x))

    def run(first, p, state, key):
        key, draws = jax.random.split(key)
        indices = order[first:first + batch]
        p, state = step(p, state, x[indices], labels[indices], draws)
        jax.block_until_ready(p)
        return p, state, key

    for _ in range(3):
        p, state, key = run(0, p, state, key)
    done, start = 0, time.process_time()
    while time.process_time() - start < float(seconds):
        p, state, key = run(done % (len(order) - batch), p, state, key)
        done += batch
    return done / (time.process_time() - start)


print(jax.__version__, flush=True)
if network == "classifier-on-codes":
    images = numpy.concatenate([numpy.asarray(encode(frozen, part)) for part in numpy.array_split(images, 16)])
for size in map(int, batches.split(",")):
    print(images_per_second(images, size), size, "jit", flush=True)
