// Command scale measures how a coordinator does with many trials, many workers and many busy slots. It starts the
// coordinator and its workers as processes, with a data directory, and prints what they did and what it cost.
//
//	go run ./command/scale throughput -trials 100000  # runs that take no time, from the first to the last
//	go run ./command/scale idle -workers 10000        # workers that hold nothing
//	go run ./command/scale latency -slots 1000        # how long a freed slot waits for its next run
//	go run ./command/scale curves                     # all of that but latency, for several sizes
//	go run ./command/scale queries -trials 100000     # answers about a study while it is trained, and after
//	go run ./command/scale watchers -watchers 200     # people who look at a study while it is trained
//	go run ./command/scale peers -python python3      # what other tools do, where they are installed
//
// With -into FILE, curves and peers keep their figures as JSON, beside what the file has. The figure and the tables of
// docs/scale.md are made of that:
//
//	go run ./command/scale figure docs/scale.json docs/scale.svg
//	go run ./command/scale table docs/scale.json docs/scale.md
//
// It measures ./trellis, or what -trellis names. Processor time is the kernel's, so figures are of Linux. On a machine
// that does other things at the same time, compare processor time rather than rates.
package main
