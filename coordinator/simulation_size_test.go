//go:build !soak

package coordinator

import "time"

const defaultSimulations = 8

// simulated is what a test can wait for.
var simulated = simulationSize{workers: 8, clients: 3, faults: 90 * time.Second, pause: 2500 * time.Millisecond}

// heldRuns is how many runs TestSnapshotHoldsNothingUp trains.
const heldRuns = 20_000
