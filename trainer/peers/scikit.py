"""Embeds points by scikit-learn's t-SNE, for tsne.go beside this file.

    scikit.py CODES POINTS EMBEDDING

CODES and EMBEDDING are files of little-endian float64 in rows, one for each point: of as many codes as there are, and of two
coordinates. Prints the version, seconds of wall time without imports, the divergence, and the peak of memory in KiB.
"""
import sys
import time

import numpy
import sklearn
from sklearn.manifold import TSNE

codes, count, embedding = sys.argv[1:4]
points = numpy.fromfile(codes, dtype="<f8").reshape(int(count), -1)
start = time.perf_counter()
tsne = TSNE(2, perplexity=30, max_iter=1000, init="pca", random_state=0, n_jobs=-1)
result = tsne.fit_transform(points)
seconds = time.perf_counter() - start
result.astype("<f8").tofile(embedding)
try:
    with open("/proc/self/status") as status:
        peak = next(line.split()[1] for line in status if line.startswith("VmHWM:"))
except OSError:
    peak = 0
print(sklearn.__version__, seconds, tsne.kl_divergence_, peak)
