// Package dataset finds, verifies and loads sets of images: MNIST, and any other, as IDX files.
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
// Images of several channels are in files with idx4 in place of idx3 in their names, channel by channel:
//
//	images: 0x00000804, count, channels, height, width (uint32 each), then count x channels x height x width pixels
//
// A file is identified by the SHA-256 of its uncompressed content, so that it does not matter how it was compressed. A
// data set is identified by its digest: the SHA-256 of 260 bytes (130 without labels), which are the files' digests in
// lower-case hexadecimal, each followed by a newline:
//
//	for f in train-images-idx3-ubyte train-labels-idx1-ubyte t10k-images-idx3-ubyte t10k-labels-idx1-ubyte
//	do gunzip -c $f.gz | sha256sum | cut -c 1-64; done | sha256sum
//
// Import makes a folder with these files of a Source, from which package source reads other formats. Beside them it writes
// data-set.json: a Manifest with the files' digests, and a CRC-32C for each MiB of each, which is checked before anything of
// that MiB is handed out. The JSON holds the SHA-256 of the manifest too. The digest of a data set does not depend on whether,
// or from what, it was imported. Folders without a manifest are taken as they are.
//
// The coordinator uses a Library, which finds data sets by name where people keep them. Workers use a Cache, which
// stores files by digest. Both return a Set, which is verified and on disk, and which Load reads into memory. No file
// is trusted: none is read beyond the size that it announces, and every file is checked against its digest each time it
// is read.
package dataset
