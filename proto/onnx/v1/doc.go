// Package onnxv1 has the messages of an ONNX file that a network of ours needs, generated from the .proto file beside
// it.
package onnxv1
