// Package artifact stores checkpoints, named by their content.
//
// An artifact is a sequence of bytes, identified by its SHA-256. The store computes the hash itself while the bytes
// arrive. So names that others choose never become paths or keys.
//
// # Guarantees
//
//   - Once [Store.Put] has returned without an error, the artifact survives a crash of the process, and of the machine.
//     In a folder, the file is written, synced and renamed, and the folder is synced. In a bucket, it is as durable as
//     the service promises.
//   - Artifacts are complete or not there: no reader ever sees a part. A Put that fails or is killed leaves nothing
//     that can be found. Its leftovers in a folder are removed when the folder is next opened.
//   - A reader returned by [Store.Get] returns the bytes that belong to the name, or its last Read fails with
//     [ErrCorrupt].
//   - Puts of the same content, and Puts and Deletes, may run at the same time in any number of processes. Each Put
//     stores a separate copy, under a name that is never used again, and [Store.Delete] deletes one copy that
//     [Store.List] has returned. So a Delete can't delete what was put after it was decided on, no matter how late it
//     takes effect (because its process was stopped and continued, or the network repeated its request).
//
// # Where artifacts are
//
// The URL passed to [Open] says where:
//
//	/var/lib/trellis/artifacts                 a folder, created if it does not exist
//	file:///var/lib/trellis/artifacts          the same
//	s3://bucket/folder?region=eu-west-1        Amazon S3, or with &endpoint=http://host:port&use_path_style=true what
//	                                           has the same API
//	gs://bucket/folder                         Google Cloud Storage, in a binary built with the tag gcs
//	mem://                                     this process's memory, for tests
//
// Several nodes may share a bucket, or a folder on a network file system with correct rename and fsync.
//
// # Names
//
// A copy's name in a folder or bucket is
//
//	ab/abcdef...-0123456789abcdef
//
// the first two digits of the digest, the digest in 64 lower-case hexadecimal digits, and 16 random digits for this
// copy. Names of any other form are ignored and left alone. A folder also contains the folder "incoming" for files that
// are still being written; each file there is locked by its process.
package artifact
