package replication

import "testing"

// The log keeps as many entries as have trailingBytes, all since the last snapshot, and no more than the limit.
func TestTrailing(t *testing.T) {
	for name, test := range map[string]struct{ entries, bytes, limit, want uint64 }{
		"nothing applied":       {0, 0, 8192, 8192},
		"small entries":         {20_000, 20_000 * 100, 8192, 8192},
		"large entries":         {600, 600 * 64 << 10, 8192, 1200},
		"few of them":           {100, 100 * 64 << 10, 8192, 1024},
		"one huge":              {1, 32 << 20, 8192, 2},
		"many since the last":   {5000, 5000 * 64 << 10, 8192, 8192},
		"fewer are asked for":   {600, 600 * 64 << 10, 10, 10},
		"entries without bytes": {7, 0, 8192, 8192},
	} {
		if got := trailing(test.entries, test.bytes, test.limit); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}
