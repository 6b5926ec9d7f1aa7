"""Stands for a command that can't be changed: it has its own options and its own output, and knows nothing of Trellis."""

import argparse
import math
import random

parser = argparse.ArgumentParser()
parser.add_argument("--learning-rate", type=float, required=True)
parser.add_argument("--frequencies", type=int, required=True)
parser.add_argument("--epochs", type=int, required=True)
parser.add_argument("--seed", type=int, default=0)
options = parser.parse_args()

chance = random.Random(options.seed)
samples = [(x / 100, math.copysign(1, math.sin(2 * math.pi * x / 100))) for x in range(100)]
weights = [0.0] * options.frequencies

print(f"fitting {options.frequencies} frequencies to a square wave of {len(samples)} samples")
for epoch in range(1, options.epochs + 1):
    chance.shuffle(samples)
    loss = 0.0
    for x, y in samples:
        waves = [math.sin(2 * math.pi * (i + 1) * x) for i in range(options.frequencies)]
        error = sum(w * s for w, s in zip(weights, waves)) - y
        weights = [w - options.learning_rate * error * s for w, s in zip(weights, waves)]
        loss += error * error / len(samples)
    print(f"epoch {epoch}/{options.epochs}: loss {loss:.4f}, strongest {max(weights):.3f}", flush=True)
