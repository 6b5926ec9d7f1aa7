"""A logistic regression in plain Python: which points lie inside a circle?"""

import math
import random

import trellis

parameters = trellis.defaults(lr=0.1, degree=2, max_epochs=10)

chance = random.Random(0)  # The points are the same in every run.
points = [(chance.uniform(-1, 1), chance.uniform(-1, 1)) for _ in range(600)]
inside = [x * x + y * y < 0.5 for x, y in points]


def features(x: float, y: float) -> list[float]:
    return [x**i * y**j for i in range(parameters.degree + 1) for j in range(parameters.degree + 1 - i)]


def predict(weights: list[float], x: float, y: float) -> float:
    return 1 / (1 + math.exp(-sum(w * f for w, f in zip(weights, features(x, y)))))


weights = [0.0] * len(features(0, 0))
for epoch in trellis.epochs():
    order = list(range(400))
    random.Random(f"{trellis.seed} {epoch}").shuffle(order)
    for i in order:
        error = predict(weights, *points[i]) - inside[i]
        weights = [w - parameters.lr * error * f for w, f in zip(weights, features(*points[i]))]
    right = sum((predict(weights, *points[i]) > 0.5) == inside[i] for i in range(400, 600))
    trellis.report(val_acc=right / 200)
