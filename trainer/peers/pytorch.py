"""Times PyTorch's training steps on the paper's networks, for steps.go beside this file.

    pytorch.py NETWORK IMAGES LABELS SECONDS BATCHES COMPILE

NETWORK is autoencoder, variational, classifier or classifier-on-codes; IMAGES a file of 28 x 28 byte images, LABELS
one of a byte each; BATCHES a list such as 64,256; COMPILE true or false. A step is what package trainer does in one:
forward, loss, backward, fused Adam with weight decay. One thread. The classifier encodes a batch's images by a frozen
encoder; on codes, it has encoded all before. Prints the version, then a line per setting that runs: images per second
of processor time, batch size, and words.
"""
import sys
import time

import torch
from torch import nn
from torch.nn import functional

network, images, labels, seconds, batches, compiling = sys.argv[1:7]
torch.set_num_threads(1)


def read(path):
    with open(path, "rb") as file:
        return torch.frombuffer(bytearray(file.read()), dtype=torch.uint8)


images = read(images).view(-1, 1, 28, 28).float() / 255
labels = read(labels).long()


def encoder(latent):
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2), nn.ReLU(),
        nn.Flatten(),
        nn.Linear(288, 64), nn.ReLU(),
        nn.Linear(64, latent),
    )


def decoder(latent):
    return nn.Sequential(
        nn.Linear(latent, 64), nn.ReLU(),
        nn.Linear(64, 288), nn.ReLU(),
        nn.Unflatten(1, (32, 3, 3)),
        nn.ConvTranspose2d(32, 16, 3, stride=2), nn.ReLU(),
        nn.ConvTranspose2d(16, 8, 3, stride=2, padding=1, output_padding=1), nn.ReLU(),
        nn.ConvTranspose2d(8, 1, 3, stride=2, padding=1, output_padding=1), nn.Sigmoid(),
    )


class Variational(nn.Module):
    def __init__(self, latent):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 64, 4, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(64, 128, 4, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(),
        )
        self.mean, self.log_variance = nn.Linear(6272, latent), nn.Linear(6272, latent)
        self.decoder = nn.Sequential(
            nn.Linear(latent, 6272), nn.ReLU(),
            nn.Unflatten(1, (128, 7, 7)),
            nn.ConvTranspose2d(128, 64, 4, stride=2, padding=1), nn.ReLU(),
            nn.ConvTranspose2d(64, 1, 4, stride=2, padding=1), nn.Sigmoid(),
        )

    def forward(self, x):
        features = self.features(x)
        mean, log_variance = self.mean(features), self.log_variance(features)
        code = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        return self.decoder(code), mean, log_variance


def autoencoder_loss(net, x, _):
    return functional.mse_loss(net(x), x)


def variational_loss(net, x, _):
    y, mean, log_variance = net(x)
    divergence = 0.5 * (mean * mean + log_variance.exp() - log_variance - 1).sum()
    return (((y - x) ** 2).sum() + divergence) / len(x)


def classifier_loss(net, x, y):
    return functional.cross_entropy(net(x), y)


def build():
    """The trained network, the frozen one before it, and the loss."""
    if network == "autoencoder":
        return nn.Sequential(encoder(16), decoder(16)), None, autoencoder_loss
    if network == "variational":
        return Variational(16), None, variational_loss
    head = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 10))
    return head, encoder(16).requires_grad_(False), classifier_loss


def images_per_second(batch, layout, compiled):
    torch.manual_seed(1)
    net, frozen, loss = build()
    x = images.to(memory_format=layout)
    net = net.to(memory_format=layout)
    if frozen is not None:
        frozen = frozen.to(memory_format=layout)
        if network == "classifier-on-codes":
            x = torch.cat([frozen(part) for part in x.split(1000)])
        elif compiled:
            frozen = torch.compile(frozen)
    adam = torch.optim.Adam(net.parameters(), lr=1e-3, weight_decay=1e-5, fused=True)
    run = torch.compile(net) if compiled else net

    def step(indices):
        inputs = x[indices]
        if network == "classifier":
            with torch.no_grad():
                inputs = frozen(inputs)
        adam.zero_grad(set_to_none=True)
        loss(run, inputs, labels[indices]).backward()
        adam.step()

    order = torch.randperm(len(x))
    for _ in range(3):
        step(order[:batch])
    done, start = 0, time.process_time()
    while time.process_time() - start < float(seconds):
        first = done % (len(order) - batch)
        step(order[first:first + batch])
        done += batch
    return done / (time.process_time() - start)


print(torch.__version__, flush=True)
sizes = [int(size) for size in batches.split(",")]
for size in sizes:
    for layout in torch.contiguous_format, torch.channels_last:
        # Compiling takes long: the middle and the largest batch stand for all.
        both = compiling == "true" and size in (sizes[len(sizes) // 2], sizes[-1])
        for compiled in [False, True] if both else [False]:
            words = ["compiled"] if compiled else []
            if layout == torch.channels_last:
                words.append("channels_last")
            try:
                rate = images_per_second(size, layout, compiled)
            except RuntimeError as error:  # Without a compiler, for example.
                print(size, words, error, file=sys.stderr)
                continue
            print(rate, size, *words, flush=True)
