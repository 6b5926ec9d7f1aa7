"""The search by Trellis: this program and trellis.yaml."""

import trellis
from body import Training

training = Training(**trellis.parameters, seed=trellis.seed)
if trellis.resume_folder:
    training.load(trellis.resume_folder)
for epoch in trellis.epochs():
    accuracy = training.train_epoch()
    training.save(trellis.checkpoint())
    trellis.report(val_acc=accuracy)
