// Package artifact keeps what studies produce besides numbers, named by content.
//
// An artifact is a sequence of bytes, found by its SHA-256. The store computes that itself while the bytes arrive: no
// name that anybody else has made up ever becomes a path or a key.
//
// # What is guaranteed
//
//   - Once [Store.Put] has returned without an error, the artifact survives a crash of the process, and of the machine.
//     In a folder: the file is written and synced, gets its name, and the folder is synced. In a bucket: as durable as
//     the service says.
//   - Whoever finds an artifact finds all of it: there is no moment at which a part can be seen. A Put that fails, or
//     is killed, leaves nothing that can be found. What it leaves in a folder is removed when the folder is next
//     opened.
//   - A reader that [Store.Get] returns gives the bytes that the name says, or its last Read fails with [ErrCorrupt].
//   - Puts of the same content, and Puts and Deletes, may run at the same time in any number of processes. Each Put
//     makes a copy of its own, under a name that was never used before and will never be used again, and [Store.Delete]
//     deletes one copy that [Store.List] has shown. So a Delete, however long it is under way (its process stopped and
//     continued, its request repeated by a network), can't delete what was put after it was decided on.
//
// # Where artifacts are
//
// The URL that [Open] takes says where:
//
//	/var/lib/trellis/artifacts                 a folder, made if it is not there
//	file:///var/lib/trellis/artifacts          the same
//	s3://bucket/folder?region=eu-west-1        Amazon S3, or with &endpoint=http://host:port&use_path_style=true what
//	                                           speaks its protocol
//	gs://bucket/folder                         Google Cloud Storage, in a binary built with the tag gcs
//	mem://                                     this process's memory, for tests
//
// Several nodes may share a folder on a network file system that keeps the promises of rename and fsync, or a bucket.
//
// # Names
//
// A copy's name in a folder or bucket is
//
//	ab/abcdef...-0123456789abcdef
//
// the first two digits of the digest, the digest in 64 lower-case hexadecimal digits, and 16 random ones of this copy.
// What has another form is not ours, and is left alone. A folder also has the folder "incoming" for what is still being
// written; each file there is locked by its process.
package artifact
