// Package hooks has the commands about web hooks: URLs that are told when a study has ended, a run has failed or a worker was
// lost.
package hooks
