//go:build soak

package coordinator

import "time"

const defaultSimulations = 100

// simulated is what takes hours.
var simulated = simulationSize{workers: 50, clients: 6, faults: 10 * time.Minute, pause: 4 * time.Second}

// heldRuns is how many runs TestSnapshotHoldsNothingUp trains.
const heldRuns = 1_000_000
