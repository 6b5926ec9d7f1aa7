package output

import (
	"math"
	"testing"
	"time"
)

func TestShortBytes(t *testing.T) {
	for bytes, want := range map[uint64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1 << 20: "1.0 MiB", 3 << 19: "1.5 MiB", 10240: "10 KiB",
		45 << 30:  "45 GiB",
		1<<64 - 1: "16 EiB",
	} {
		if got := ShortBytes(bytes); got != want {
			t.Errorf("%d: got %s, want %s", bytes, got, want)
		}
	}
}

func TestShortTexts(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 1234 * time.Microsecond: "1ms", 1540 * time.Millisecond: "1.5s", 12345 * time.Millisecond: "12s",
		90 * time.Second: "1m30s", 3*time.Hour + 29*time.Minute + 40*time.Second: "3h30m", 100 * time.Hour: "4d4h",
		24*time.Hour - time.Second: "24h0m",
	} {
		if got := ShortDuration(d); got != want {
			t.Errorf("shortDuration(%v) = %q, want %q", d, got, want)
		}
	}
	for loss, want := range map[float64]string{
		0.0123456789: "0.012346", 0: "0.000000", 1e-9: "1e-09", 123456: "1.235e+05", math.Inf(1): "+Inf",
		1.5: "1.500000",
	} {
		if got := ShortLoss(loss); got != want {
			t.Errorf("shortLoss(%v) = %q, want %q", loss, got, want)
		}
	}
	for got, want := range map[string]string{
		Count(1, "trial"): "1 trial", Count(0, "trial"): "0 trials", Count(2, "study"): "2 studies",
		Shorten("short", 10): "short", Shorten("a long text", 6): "a long...", Shorten("日本語", 4): "日...",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestGrouped(t *testing.T) {
	for number, want := range map[uint64]string{
		0: "0", 999: "999", 1000: "1,000", 123456: "123,456", 1_000_000_000_000: "1,000,000,000,000",
	} {
		if got := Grouped(number); got != want {
			t.Errorf("%d: %s, want %s", number, got, want)
		}
	}
}
