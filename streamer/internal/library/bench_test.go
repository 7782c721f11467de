package library

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// BenchmarkMeasure is the cost of accepting a minute of the most common file that is not at our rate.
func BenchmarkMeasure(b *testing.B) {
	head := bytes.Clone([]byte(plainHead))
	binary.LittleEndian.PutUint32(head[24:], 44100)
	const samples = 60 * 44100
	file := append(binary.LittleEndian.AppendUint32(head, 2*samples), make([]byte, 2*samples)...)
	for b.Loop() {
		if _, _, err := measure(bytes.NewReader(file), MaxDuration); err != nil {
			b.Fatal(err)
		}
	}
}
