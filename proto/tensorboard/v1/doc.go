// Package tensorboardv1 has the messages of TensorBoard's event files that an export needs, generated from the .proto
// file beside it.
package tensorboardv1
