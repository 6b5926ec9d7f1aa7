// Package tensorboard writes trials as event files that TensorBoard shows: a folder for each trial with its losses and
// metrics by epoch, and what the plugin HParams needs to compare them.
package tensorboard
