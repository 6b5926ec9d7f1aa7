package chart

import (
	"encoding/binary"
	"math"
)

// float64s is a column of numbers.
func float64s(numbers []float64) []byte {
	data := make([]byte, 0, 8*len(numbers))
	for _, x := range numbers {
		data = binary.LittleEndian.AppendUint64(data, math.Float64bits(x))
	}
	return data
}

// uint32s is a column of numbers.
func uint32s(numbers []uint32) []byte {
	data := make([]byte, 0, 4*len(numbers))
	for _, x := range numbers {
		data = binary.LittleEndian.AppendUint32(data, x)
	}
	return data
}

// appendFloat32 appends a number to a column.
func appendFloat32(data []byte, x float64) []byte {
	return binary.LittleEndian.AppendUint32(data, math.Float32bits(float32(x)))
}
