package executor

import (
	"testing"

	"pgregory.net/rapid"
)

func TestLayoutReusesMemory(t *testing.T) {
	var l layout
	a := l.add(32, 0, 1)
	b := l.add(16, 1, 2)
	c := l.add(20, 2, 3) // Fits where a was.
	d := l.add(48, 3, 3) // Fits behind c only, where b was.
	if a != 0 || b != 32 || c != 0 || d != 32 || l.size != 80 {
		t.Errorf("offsets %d, %d, %d, %d and size %d, want 0, 32, 0, 32 and 80", a, b, c, d, l.size)
	}
}

func TestLayoutKeepsLivingValuesApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l layout
		type value struct{ offset, size, from, to int }
		var values []value
		sum := 0
		for from := range rapid.IntRange(1, 30).Draw(t, "values") {
			v := value{
				size: rapid.IntRange(1, 100).Draw(t, "size"),
				from: from,
				to:   from + rapid.IntRange(0, 8).Draw(t, "life"),
			}
			v.offset = l.add(v.size, v.from, v.to)
			if v.offset%alignment != 0 || v.offset < 0 || v.offset+v.size > l.size {
				t.Fatalf("value at %d of size %d in a block of %d", v.offset, v.size, l.size)
			}
			for _, other := range values {
				if other.to >= v.from && other.offset < v.offset+v.size && v.offset < other.offset+other.size {
					t.Fatalf("%+v overlaps %+v", v, other)
				}
			}
			values = append(values, v)
			sum += (v.size + alignment - 1) / alignment * alignment
		}
		if l.size > sum {
			t.Fatalf("block of %d for values of %d", l.size, sum)
		}
	})
}
