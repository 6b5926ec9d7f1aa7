package cli

import (
	"log/slog"
	"os"

	"trellis/tracing"
)

// StartTracing returns what sends traces if the environment says where they go, else nil. A mistake there is only
// logged: it may be meant for others. Service is what the process is called in traces.
func (env *Environment) StartTracing(service string, logger *slog.Logger) *tracing.Tracer {
	return startTracing(tracing.Config{Service: service, Version: env.Version, Logger: logger})
}

// StartBriefTracing is StartTracing for a command that ends soon, and has no log but its notices.
func (env *Environment) StartBriefTracing() *tracing.Tracer {
	logger := slog.New(slog.NewTextHandler(env.Err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	return startTracing(tracing.Config{Service: "trellis", Version: env.Version, Logger: logger, Brief: true})
}

func startTracing(config tracing.Config) *tracing.Tracer {
	config.Environment = os.Getenv
	tracer, err := tracing.Start(config)
	if err != nil {
		config.Logger.Warn("no traces are sent", "error", err)
	}
	return tracer
}
