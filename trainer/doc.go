// Package trainer trains one run: a network on a data set with one choice of parameters, epoch by epoch.
//
// Train is its entry, Config says what to train, and Report, Result and Checkpoint are what comes of it. It is a
// library that knows nothing of studies, workers or connections. The layers below, each in a package of its own:
//
//	model      the models, one folder each: what they are and which layers they have
//	network    builds networks from lists of layers, differentiates them through Gorgonia, and runs them
//	operation  the layers' operations, which Gorgonia lacks, for a tile of 16 images
//	executor   runs a graph of them tile by tile over one block of memory
//	kernel     the arithmetic
//	adam       the optimiser, behind gorgonia.Solver
//	stream     random numbers, keyed by what they are for
//	dataset    images
//
// The same Config gives the same bits everywhere: every sum has one order, products and sums are fused where the code
// says so and nowhere else, and no random number depends on another purpose's. NumericsVersion names that contract.
package trainer
