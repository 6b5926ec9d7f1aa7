// Package executor runs Gorgonia's expression graphs tile by tile, without allocating.
//
// Gorgonia builds and differentiates a graph for one tile of images. A Machine compiles the part of it that its outputs
// need into a flat list of calls over one block of memory, in the order in which the nodes were made. Values that are
// no longer needed give up their place to later ones, which keeps a whole pass in the processor's cache.
//
// A batch is run as
//
//	Begin()                             the weights may have changed
//	Tile()  for every tile, after filling the inputs
//	End()                               writes what is summed over the batch: losses, gradients of weights
//
// and RunAll, which makes a Machine a gorgonia.VM, is a batch of one tile.
//
// Operations of package operation are bound to their memory once, and so is Gorgonia's sum, which it makes where two
// gradients meet. Others of its own run through their Do method, which allocates.
package executor
