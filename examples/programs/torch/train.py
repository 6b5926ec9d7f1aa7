"""A convolutional network that reads digits."""

import torch
import trellis
from images import load
from torch import nn

parameters = trellis.defaults(lr=1e-2, optimizer="adam", amp=False, images=12000, batch_size=64, max_epochs=5)
device = "cuda" if torch.cuda.is_available() else "cpu"
train_images, train_labels, val_images, val_labels = (part.to(device) for part in load(parameters.images))

torch.manual_seed(trellis.seed)
model = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, padding=1),
    nn.ReLU(),
    nn.AdaptiveAvgPool2d(4),  # The same network for images of any size.
    nn.Flatten(),
    nn.Linear(32 * 4 * 4, 10),
).to(device)
if parameters.optimizer == "adam":
    optimizer = torch.optim.Adam(model.parameters(), parameters.lr)
else:
    optimizer = torch.optim.SGD(model.parameters(), parameters.lr, momentum=0.9)

if trellis.resume_folder:
    state = torch.load(trellis.resume_folder / "state.pt", map_location=device)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])

for epoch in trellis.epochs():
    # The order depends on seed and epoch alone, so that a run that resumes goes on as if nothing had happened.
    order = torch.randperm(len(train_images), generator=torch.Generator().manual_seed(1000 * trellis.seed + epoch))
    total = 0.0
    for batch in order.split(parameters.batch_size):
        with torch.autocast(device, torch.bfloat16, enabled=parameters.amp):
            loss = nn.functional.cross_entropy(model(train_images[batch]), train_labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(batch)
    with torch.no_grad():
        accuracy = (model(val_images).argmax(1) == val_labels).float().mean()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, trellis.checkpoint() / "state.pt")
    trellis.report(val_acc=accuracy, train_loss=total / len(train_images))
