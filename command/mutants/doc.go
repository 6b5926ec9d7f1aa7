// Command mutants checks the tests: it plants known bugs, one at a time, and runs the tests that must catch them. A bug
// that no test catches is a defect of the tests.
//
//	go run ./command/mutants                 # all of them
//	go run ./command/mutants fence snapshot  # those whose names contain one of the words
//
// The bugs are in mutants.yaml. The source tree is not touched: the compiler is given the changed file in place of the
// real one (go help build, -overlay).
package main
