// Package trainer trains one run: a network on a data set with one choice of parameters, epoch by epoch.
//
// The entry point is Train. Config says what to train, and Report, Result and Checkpoint have the results. The package
// is a library that knows nothing about studies, workers or connections. Its layers are packages of their own:
//
//	model      the models, one folder each: what they are and which layers they have
//	network    builds networks from lists of layers, differentiates them through Gorgonia, and runs them
//	operation  the layers' operations that Gorgonia lacks, for a tile of 16 images
//	executor   runs a graph of them tile by tile over one block of memory
//	kernel     the arithmetic
//	adam       the optimiser, behind gorgonia.Solver
//	stream     random numbers, keyed by their purpose
//	dataset    images
//
// The same Config gives the same bits everywhere: every sum has a fixed order, products and sums are fused only where
// the code says so, and random numbers of different purposes don't depend on each other. NumericsVersion is the version
// of this contract.
package trainer
