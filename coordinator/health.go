package coordinator

import (
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// readyService is the name under which the health service says whether the node can serve calls. Each service's own
// name says the same. The service without a name is SERVING while the process lives.
const readyService = "ready"

// services is the health of the node's services.
type services struct {
	*health.Server
	names []string
}

// newServices returns the health of services that are not serving yet.
func newServices(names []string) *services {
	s := &services{Server: health.NewServer(), names: append([]string{readyService}, names...)}
	s.setReady(false)
	return s
}

// setReady says whether the node can serve calls.
func (s *services) setReady(ready bool) {
	state := grpc_health_v1.HealthCheckResponse_NOT_SERVING
	if ready {
		state = grpc_health_v1.HealthCheckResponse_SERVING
	}
	for _, name := range s.names {
		s.SetServingStatus(name, state)
	}
}
