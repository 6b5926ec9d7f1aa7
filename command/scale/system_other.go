//go:build !unix

package main

import "io/fs"

// allocated is how many bytes of the disk a file takes.
func allocated(info fs.FileInfo) int64 { return info.Size() }
