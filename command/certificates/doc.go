// Package certificates has the commands that make the certificates of a cluster for those who have no authority of their
// own. They need no coordinator.
package certificates
