"""Boosted trees that read digits, in XGBoost. One epoch is one round: one tree more for each digit."""

import trellis
import xgboost
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

parameters = trellis.defaults(eta=0.3, max_depth=6, subsample=1.0, tree_method="hist", max_epochs=20)
images, labels = load_digits(return_X_y=True)
train_x, val_x, train_y, val_y = train_test_split(images, labels, test_size=300, random_state=0, stratify=labels)
train, validation = xgboost.DMatrix(train_x, train_y), xgboost.DMatrix(val_x, val_y)

booster = xgboost.Booster(
    {**parameters, "objective": "multi:softprob", "num_class": 10, "seed": trellis.seed, "nthread": 1},
    [train, validation],
)
if trellis.resume_folder:
    booster.load_model(trellis.resume_folder / "model.ubj")

for epoch in trellis.epochs():
    booster.update(train, epoch - 1)
    chances = booster.predict(validation)
    if epoch % 10 == 0 or trellis.stopping:
        booster.save_model(trellis.checkpoint() / "model.ubj")
    trellis.report(val_loss=log_loss(val_y, chances), val_acc=(chances.argmax(1) == val_y).mean())
