"""A multilayer perceptron that reads digits, in scikit-learn. One epoch is one pass over the training data."""

import joblib
import numpy as np
import trellis
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

parameters = trellis.defaults(lr=1e-3, units=64, activation="relu", weight_decay=1e-4, max_epochs=10)
images, labels = load_digits(return_X_y=True)
train_x, val_x, train_y, val_y = train_test_split(images / 16, labels, test_size=300, random_state=0, stratify=labels)

if trellis.resume_folder:
    model = joblib.load(trellis.resume_folder / "model.joblib")
else:
    model = MLPClassifier(
        [parameters.units],
        activation=parameters.activation,
        alpha=parameters.weight_decay,
        learning_rate_init=parameters.lr,
        random_state=trellis.seed,
    )

for epoch in trellis.epochs():
    model.partial_fit(train_x, train_y, classes=np.arange(10))
    # It is what costs little here: where saving takes long, save every tenth epoch, and when trellis.stopping.
    joblib.dump(model, trellis.checkpoint() / "model.joblib")
    trellis.report(val_acc=model.score(val_x, val_y), val_loss=log_loss(val_y, model.predict_proba(val_x)))
