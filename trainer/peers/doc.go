// Peers measures training steps of the paper's autoencoder, variational autoencoder and classifier on a frozen
// encoder beside what a user would pick instead: PyTorch, in the best of all combinations of batch size,
// channels_last and torch.compile, with fused Adam; JAX with jit, at its best batch size; and stock Gorgonia as far
// as it can express the autoencoder. Trellis keeps what the frozen encoder makes of images; of the others, both this
// and encoding each batch are measured. All of them run in turn, several rounds, on the cores that the process may
// use: start it under taskset for one core, as make bench-peers does. Rates are per second of processor time (stock
// Gorgonia's by the clock), so that what else the machine does matters little. Absolute figures depend on the
// machine; the ratios are those of each round, of which the median is printed.
//
// With -tsne it measures package latent's t-SNE beside openTSNE's, which interpolates forces on a grid by fast Fourier
// transforms, and scikit-learn's instead: the codes that an autoencoder makes of MNIST's 10,000 test images, or with
// -points 60000 of the others, each in a process of its own on all cores, one after the other; and it judges all
// embeddings by the same functions. Scikit-learn embeds 10,000 only.
//
// PyTorch, JAX (with optax), openTSNE and scikit-learn are taken from the first of $PYTHON, python3 and
// /usr/bin/python3 that has them, and skipped where none does.
package main
