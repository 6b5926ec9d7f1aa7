// Package artifacttest provides an artifact store in memory whose faults tests control.
package artifacttest
