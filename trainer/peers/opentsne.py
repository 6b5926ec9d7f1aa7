"""Embeds points by openTSNE's t-SNE (FIt-SNE), for tsne.go beside this file.

    opentsne.py CODES POINTS EMBEDDING

CODES and EMBEDDING are files of little-endian float64 in rows, one for each point: of as many codes as there are, and of two
coordinates. It makes as many iterations as ours, 250 of them with exaggeration. Prints the version, seconds of wall time without
imports, the divergence, and the peak of memory in KiB.
"""
import os
import sys
import time

import numpy
import openTSNE

codes, count, embedding = sys.argv[1:4]
points = numpy.fromfile(codes, dtype="<f8").reshape(int(count), -1)
start = time.perf_counter()
tsne = openTSNE.TSNE(
    2, perplexity=30, early_exaggeration_iter=250, n_iter=750, random_state=0, n_jobs=len(os.sched_getaffinity(0)),
    negative_gradient_method="fft",
)
result = tsne.fit(points)
seconds = time.perf_counter() - start
numpy.asarray(result).astype("<f8").tofile(embedding)
try:
    with open("/proc/self/status") as status:
        peak = next(line.split()[1] for line in status if line.startswith("VmHWM:"))
except OSError:
    peak = 0
print(openTSNE.__version__, seconds, result.kl_divergence, peak)
