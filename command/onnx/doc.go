// Package onnx writes the network of a trained model as an ONNX file, which onnxruntime and others run. Its input
// "images" is (batch, channel, row, column), of any number of images, with pixels from 0 (black) to 1 (white). Its
// outputs are what the model has of "code" (batch, latent dimension), "reconstruction" (as the images) and
// "log_probabilities" (batch, class).
package onnx
