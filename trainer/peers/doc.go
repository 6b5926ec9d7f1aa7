// Peers measures the training step of the paper's convolutional autoencoder beside what a user would pick instead:
// PyTorch, with the best of several batch sizes and thread counts, and stock Gorgonia as far as it can express the
// network. All of them run in turn, several rounds, on the cores that the process may use: start it under taskset for
// one core, as make bench-peers does. Absolute figures depend on the machine and its load; the ratios are those of each
// round, of which the median is printed.
//
// With -tsne it measures package latent's t-SNE beside scikit-learn's instead: the codes that an autoencoder makes of
// MNIST's 10,000 test images, each in a process of its own on all cores, one after the other; and it judges both
// embeddings by the same functions.
//
// PyTorch and scikit-learn are taken from the first of $PYTHON, python3 and /usr/bin/python3 that has them, and skipped
// where none does.
package main
