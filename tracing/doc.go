// Package tracing sends OpenTelemetry traces: of calls, and of what the other rooms start spans for.
//
// It is off unless the environment names where traces go, and then it costs nothing: a nil *Tracer starts no spans, and
// allocates nothing. It follows the standard variables, OTEL_EXPORTER_OTLP_ENDPOINT and the others, as OpenTelemetry's
// own library reads them. An endpoint that is away, or that hangs, costs spans: they wait in a bounded queue, and
// nothing waits for them.
//
// The trace of a run is known by everybody who knows the run: its id is a hash of what the log has. So nothing about
// traces is stored, and a leader goes on with the traces of the leader before it. The decision whether a trace is
// sampled follows from its id too.
package tracing
