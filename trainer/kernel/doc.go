// Package kernel holds the arithmetic of training: convolutions, transposed convolutions and linear layers with their
// gradients, activations, losses, Adam, and the conversion of images. Each has an AVX-512, an AVX2 and a portable Go
// form, which give the same bits; the form is chosen when the program starts.
//
// Data lie in tiles of 16 images. A tile is [channel][row][column][lane]: the lanes of a vector are images, so no
// kernel needs a gather or a horizontal sum, and one channel is as good as many. DESIGN.md states layout and
// arithmetic.
//
// Functions panic if the length of a slice does not fit the plan.
package kernel
