// Package forecast predicts how much work of a study remains, and how long it will take, with intervals. [Make] is
// pure: it uses no clock and no I/O, and its randomness has a fixed seed, so the same runs give the same forecast on
// every node.
//
//	runs, losses  ->  Tally        classes of similar runs, measured times, when losses improved
//	              ->  improvement  the probability that an epoch improves: when early stopping will end a run
//	              ->  pace         seconds per epoch, by settings
//	              ->  Make         many simulations of the rest, in the order of leasing, on the current slots
//
// A [Maker] collects what Make needs from a snapshot of the store, and keeps forecasts for a while.
package forecast
