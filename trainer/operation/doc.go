// Package operation has the operations that Gorgonia lacks or runs slowly, for one tile of images at a time.
//
// An activation holds the values of kernel.Lanes images side by side: its shape is (channel, row, column, lane), or
// (feature, lane) behind a linear layer. Weights and biases have PyTorch's shapes. Every value is a float32.
//
// Each operation is a gorgonia.Op and a gorgonia.SDOp, so that Gorgonia builds, checks and differentiates graphs of
// them, and a Compiler, so that package executor can run them without allocating. One file has one operation: its
// shape, what it computes, and its gradient, which is made of further operations. Gradients with respect to weights and
// the loss are sums over all tiles of a batch.
//
// Gorgonia counts nodes in package variables, so graphs may not be built at the same time: see Building.
package operation
