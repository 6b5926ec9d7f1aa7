//go:build !soak

package coordinator

// hostile is what a test can wait for.
var hostile = hostileSize{
	sessions: 1500, limits: Limits{Sessions: 300, SessionsEach: 200, Connections: 250, ConnectionsAddress: 150},
	descriptors: 1024, peakMB: 512, points: 200_000,
}
