// Package snapshotfile writes and reads the file of a store's snapshot: a header, blocks of rows with checksums, and an
// end mark. DESIGN.md of package results describes the format. The package knows neither the tables nor the meaning of
// rows: a row is a message in a named table.
package snapshotfile
