// Package source reads sets of images as people keep them, so that they can be imported: IDX files, NumPy's arrays, folders
// of pictures, and the binary files of CIFAR-10. It holds one image in memory, and a name for each picture.
//
// What a file says of itself is not believed: sizes are bounded before anything is read by them, a file has to have the
// length that its header announces, and no more than that is decompressed.
package source
