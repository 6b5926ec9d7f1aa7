//go:build !soak

package results

// modelChecks is how many cases tests draw whose random cases are costly: see drawFew.
const modelChecks = 30

// replayOrders is in how many orders TestReplayPaper replays each setting but the default one.
const replayOrders = 1

// modelCommands is how many commands TestModel gives at least.
const modelCommands = 2_000

// largeStudyTrials is how many trials TestLargeStudy has.
const largeStudyTrials = 50_000

// largeListTrials is how many trials BenchmarkListLarge has.
const largeListTrials = 200_000
