// Package synthetic is a model without a network, which needs no data. Its losses follow a closed form over the same
// axes as a real search, so that a cluster, its schedule and its ranking can be tried out without training. With the
// learning rate r in units of 1e-3, the latent dimension l in units of 16, the weight decay w, and the epoch e:
//
//	b(p)           = p / (1 + p)                                    bounds a penalty by 1
//	floor          = 0.010 + 0.004 b(l + 1/l - 2) + 0.003 b(r + 1/r - 2) + 0.001 ((w - 1e-5) / (w + 1e-5))^2
//	curve(e)       = floor + 0.08 / (1 + 4 e r / (1 + r))
//	validation(e)  = curve(e) (1 + 0.005 u)                         u drawn evenly from [-1, 1) for seed and epoch
//	training(e)    = curve(e) (0.98 + 0.005 v)                      v likewise
//	test           = 0.98 of the lowest validation loss
//
// The best point is latent 16, learning rate 1e-3, weight decay 1e-5, where the losses go to about 0.01. A learning
// rate of 0.1 or more diverges: from epoch 1 + floor(1 / learning rate) on, both losses are NaN. Only the four basic
// operations occur, each rounded by itself, so every machine computes the same bits.
package synthetic
