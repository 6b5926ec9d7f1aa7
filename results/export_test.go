package results

import (
	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
)

// The package insight imports this one, so that tests in this one can't import it. What they ask of it is set by
// insight_test.go, which stands beside the package.

// CheckInsight compares what is said about a study with what is listed of it.
var CheckInsight func(t *rapid.T, snapshot *Snapshot, study *trellisv1.Study)

// AskInsight asks about a study.
var AskInsight struct {
	Best, Configurations, Report func(snapshot *Snapshot, study string) error
	// Everything returns what is said, but for the study as it is stored.
	Everything func(snapshot *Snapshot, study string) []string
}
