//go:build soak

package results

// modelCommands is how many commands TestModel gives at least.
const modelCommands = 1_000_000

// largeStudyTrials is how many trials TestLargeStudy has.
const largeStudyTrials = 1_000_000

// largeListTrials is how many trials BenchmarkListLarge has.
const largeListTrials = 1_000_000
