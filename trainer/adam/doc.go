// Package adam puts PyTorch's Adam, as package kernel computes it, behind gorgonia.Solver.
//
// Gorgonia's own AdamSolver adds weight decay in another place and allocates at every step.
package adam
