"""Times PyTorch's training step on the paper's convolutional autoencoder, for main.go beside this file.

    pytorch.py IMAGES SECONDS BATCHES THREADS

IMAGES is a file of 28 x 28 byte images; BATCHES and THREADS are lists such as 64,256. A step is what package trainer
does in one: a shuffled batch of bytes becomes floats, forward, mean squared error, backward, Adam with weight decay.
Prints the version, then a line per setting: threads, batch size, images per second.
"""
import sys
import time

import torch
from torch import nn

path, seconds, batches, threads = sys.argv[1:5]
with open(path, "rb") as file:
    images = torch.frombuffer(bytearray(file.read()), dtype=torch.uint8).view(-1, 1, 28, 28)


def autoencoder(latent):
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2), nn.ReLU(),
        nn.Flatten(),
        nn.Linear(288, 64), nn.ReLU(),
        nn.Linear(64, latent),
        nn.Linear(latent, 64), nn.ReLU(),
        nn.Linear(64, 288), nn.ReLU(),
        nn.Unflatten(1, (32, 3, 3)),
        nn.ConvTranspose2d(32, 16, 3, stride=2), nn.ReLU(),
        nn.ConvTranspose2d(16, 8, 3, stride=2, padding=1, output_padding=1), nn.ReLU(),
        nn.ConvTranspose2d(8, 1, 3, stride=2, padding=1, output_padding=1), nn.Sigmoid(),
    )


def images_per_second(batch):
    torch.manual_seed(1)
    network = autoencoder(16)
    adam = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=1e-5)

    def step(indices):
        x = images[indices].float() / 255
        adam.zero_grad(set_to_none=True)
        nn.functional.mse_loss(network(x), x).backward()
        adam.step()

    order = torch.randperm(len(images))
    for _ in range(5):
        step(order[:batch])
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < float(seconds):
        first = done % (len(order) - batch)
        step(order[first:first + batch])
        done += batch
    return done / (time.perf_counter() - start)


print(torch.__version__, flush=True)
for count in map(int, threads.split(",")):
    torch.set_num_threads(count)
    for batch in map(int, batches.split(",")):
        print(count, batch, images_per_second(batch), flush=True)
