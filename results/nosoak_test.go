//go:build !soak

package results

// modelCommands is how many commands TestModel gives at least.
const modelCommands = 20_000

// largeStudyTrials is how many trials TestLargeStudy has.
const largeStudyTrials = 50_000

// largeListTrials is how many trials BenchmarkListLarge has.
const largeListTrials = 200_000
