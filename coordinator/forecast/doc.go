// Package forecast says how much of a study is still to come, and how long that takes, with an interval. [Make] is
// pure: no clock, no I/O, and randomness from a fixed seed, so that the same runs give the same forecast on every node.
//
//	runs, losses  ->  Tally        classes of runs alike, measured times, when losses improved
//	              ->  improvement  the chance that an epoch improves: when early stopping will end a run
//	              ->  pace         seconds per epoch, by settings
//	              ->  Make         many simulations of what is left, in the order of leasing, on the slots at hand
//
// A [Maker] collects what Make needs from a snapshot of the store, and keeps forecasts for a while.
package forecast
