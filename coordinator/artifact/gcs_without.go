//go:build !gcs

package artifact

// hasGCS says whether this binary can open gs:// URLs.
const hasGCS = false
