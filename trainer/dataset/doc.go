// Package dataset finds, verifies and loads sets of images: MNIST, and any other data set of IDX files.
//
// A data set is four IDX files, always in this order and under these names, or without labels the two files of images:
//
//	train-images-idx3-ubyte  train-labels-idx1-ubyte  t10k-images-idx3-ubyte  t10k-labels-idx1-ubyte
//
// In a folder, "idx" may follow a dot instead of a hyphen, ".gz" may follow the name, and each may be a symbolic link.
// A file's content says whether it is gzipped.
//
// An IDX file is a big-endian header and then the bytes themselves (http://yann.lecun.com/exdb/mnist/):
//
//	images: 0x00000803, count, height, width (uint32 each), then count x height x width pixels, row by row
//	labels: 0x00000801, count (uint32 each), then count labels
//
// A file is identified by the SHA-256 of its uncompressed content, so that it does not matter how it was compressed. A
// data set is identified by its digest: the SHA-256 of 260 bytes (130 without labels), which are the files' digests in
// lower-case hexadecimal, each followed by a newline:
//
//	for f in train-images-idx3-ubyte train-labels-idx1-ubyte t10k-images-idx3-ubyte t10k-labels-idx1-ubyte
//	do gunzip -c $f.gz | sha256sum | cut -c 1-64; done | sha256sum
//
// The coordinator uses a Library, which finds data sets by name where people keep them. Workers use a Cache, which
// stores files by digest. Both return a Set, which is verified and on disk, and which Load reads into memory. No file
// is trusted: none is read beyond the size that it announces, and every file is checked against its digest each time it
// is read.
package dataset
