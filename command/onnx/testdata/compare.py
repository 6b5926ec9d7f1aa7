"""Compares what onnxruntime and, if it is installed, PyTorch make of the models in a folder with what Trellis makes of them.

Usage: compare.py FOLDER docs/export.md
"""

import pathlib
import re
import sys

import numpy
import onnx
import onnxruntime
import safetensors.numpy

# Trellis adds up the 6,272 products behind each value of log_variance one after another, in 32 bits: it is up to 1.3e-6 from what 64
# bits give, and onnxruntime 0.2e-6.
TOLERANCE, LONG_SUM = 1e-6, 2e-6

folder, page = map(pathlib.Path, sys.argv[1:])


def check(what, got, want, tolerance=TOLERANCE):
    want = want.reshape(got.shape)
    worst = numpy.max(numpy.abs(got - want) / numpy.maximum(1, numpy.abs(want)))
    print(f"{what}: {got.shape}, differs by {worst:.1e}")
    if not worst <= tolerance:
        sys.exit(f"{what} differs by {worst}, want {tolerance} at most")


def wanted(model, output):
    return numpy.fromfile(folder / f"{model}.{output}", numpy.float32)


models = sorted(path.stem for path in folder.glob("*.onnx"))
if len(models) != 4:
    sys.exit(f"there are models {models}, want 4")
shape = onnxruntime.InferenceSession(folder / f"{models[0]}.onnx").get_inputs()[0].shape[1:]
images = numpy.fromfile(folder / "images", numpy.float32).reshape(-1, *shape)
for model in models:
    path = folder / f"{model}.onnx"
    loaded = onnx.load(path)
    onnx.checker.check_model(loaded, full_check=True)
    session = onnxruntime.InferenceSession(path)
    metadata = session.get_modelmeta().custom_metadata_map
    if metadata["model"] != model or metadata["study"] != "study":
        sys.exit(f"{model} has metadata {metadata}")
    outputs = [output.name for output in session.get_outputs()]
    for name, got in zip(outputs, session.run(None, {"images": images})):
        tolerance = LONG_SUM if name == "log_variance" else TOLERANCE
        check(f"onnxruntime, {model}, {name}", got, wanted(model, name), tolerance)
    alone = session.run(None, {"images": images[:1]})
    check(f"onnxruntime, {model}, one image", alone[0], wanted(model, outputs[0])[: alone[0].size])

    weights = safetensors.numpy.load_file(folder / f"{model}.safetensors")
    tensors = {t.name: onnx.numpy_helper.to_array(t) for t in loaded.graph.initializer}
    for name in set(weights) & set(tensors):
        if not numpy.array_equal(weights[name], tensors[name]):
            sys.exit(f"{model}: {name} differs between the formats")
    if not set(weights) <= set(tensors):
        sys.exit(f"{model}: {set(weights) - set(tensors)} are in safetensors alone")

if shape != [1, 28, 28]:
    sys.exit()  # The page's module is for digits.

try:
    import safetensors.torch
    import torch
    from torch import nn
except ImportError:
    print("PyTorch is not installed: weights were not loaded into modules")
    sys.exit()

# The module is that of the page.
code = re.search(r"```python\n(from torch import nn\n.*?)\nmodel = ", page.read_text(), re.S).group(1)
exec(code)


class Classifier(nn.Module):
    def __init__(self, latent_dim):
        super().__init__()
        self.encoder = Autoencoder(latent_dim).encoder
        self.head = nn.Sequential(nn.Linear(latent_dim, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, images):
        code = self.encoder.l(self.encoder.c(images).flatten(1))
        return code, nn.functional.log_softmax(self.head(code), 1)


class Variational(nn.Module):
    def __init__(self, latent_dim):
        super().__init__()
        self.encoder, self.decoder = nn.Module(), nn.Module()
        self.encoder.c1, self.encoder.c2 = nn.Conv2d(1, 64, 4, 2, 1), nn.Conv2d(64, 128, 4, 2, 1)
        self.encoder.mu, self.encoder.lv = nn.Linear(6272, latent_dim), nn.Linear(6272, latent_dim)
        self.decoder.l = nn.Linear(latent_dim, 6272)
        self.decoder.d1, self.decoder.d2 = nn.ConvTranspose2d(128, 64, 4, 2, 1), nn.ConvTranspose2d(64, 1, 4, 2, 1)

    def forward(self, images):
        code = self.encoder.mu(self.encoder.c2(self.encoder.c1(images).relu()).relu().flatten(1))
        hidden = self.decoder.l(code).relu().unflatten(1, (128, 7, 7))
        return code, self.decoder.d2(self.decoder.d1(hidden).relu()).sigmoid()


for model in models:
    kind = {"classifier": Classifier, "variational-autoencoder": Variational}.get(model, Autoencoder)
    module = kind(5)
    module.load_state_dict(safetensors.torch.load_file(folder / f"{model}.safetensors"))
    with torch.no_grad():
        code, second = module(torch.from_numpy(images))
    check(f"PyTorch, {model}, code", code.numpy(), wanted(model, "code"))
    name = "log_probabilities" if model == "classifier" else "reconstruction"
    check(f"PyTorch, {model}, {name}", second.numpy(), wanted(model, name))
