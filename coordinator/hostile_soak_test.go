//go:build soak

package coordinator

// hostile meets the limits that a coordinator has by default, with the descriptors of this machine.
var hostile = hostileSize{sessions: 100_000, peakMB: 4096, points: 1_000_000}
