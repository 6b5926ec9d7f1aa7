// Package archive packs a folder into one file and unpacks it: the files of a program, and its checkpoints.
//
// An archive is a tar file compressed with zstd. The same content gives the same bytes: names are sorted, times and
// owners are left out, and of modes only whether a file may be executed is kept (0755 or 0644). So a folder's digest
// says what is in it, and files that have not changed are not sent again.
//
// Archives come from strangers: Unpack writes nothing outside its folder, makes no links or devices, and stops at
// limits of files and bytes.
package archive
