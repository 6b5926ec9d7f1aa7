// Package export has the command that writes a study's trials in the formats of other tools.
package export
