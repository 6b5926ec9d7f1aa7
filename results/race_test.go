//go:build race

package results

// raceDetector says whether the race detector watches, which takes memory and time of its own.
const raceDetector = true
