// Package artifacttest has a store of artifacts in memory whose faults tests decide on.
package artifacttest
