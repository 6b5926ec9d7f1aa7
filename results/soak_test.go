//go:build soak

package results

// modelChecks is how many cases tests draw whose random cases are costly: see drawFew.
const modelChecks = 2000

// replayOrders is in how many orders TestReplayPaper replays each setting.
const replayOrders = 20

// modelCommands is how many commands TestModel gives at least.
const modelCommands = 1_000_000

// largeStudyTrials is how many trials TestLargeStudy has.
const largeStudyTrials = 1_000_000

// largeListTrials is how many trials BenchmarkListLarge has.
const largeListTrials = 1_000_000
