package figure

import (
	"image/color"
	"math"
	"testing"
)

// The ten colours and white can be told apart by everyone: two differ by 15 in CIE L*a*b* (a difference of 2.3 can just
// be seen), for normal sight and the three deficiencies at their strongest, as simulated by G. Machado, M. Oliveira and
// L. Fernandes, A Physiologically-based Model for Simulation of Color Vision Deficiency (2009), table 1.
func TestPalette(t *testing.T) {
	sights := map[string][3][3]float64{
		"normal": {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}},
		"protanopia": {
			{0.152286, 1.052583, -0.204868},
			{0.114503, 0.786281, 0.099216},
			{-0.003882, -0.048116, 1.051998},
		},
		"deuteranopia": {
			{0.367322, 0.860646, -0.227968},
			{0.280085, 0.672501, 0.047413},
			{-0.011820, 0.042940, 0.968881},
		},
		"tritanopia": {
			{1.255528, -0.076749, -0.178779},
			{-0.078411, 0.930809, 0.147602},
			{0.004733, 0.691367, 0.303900},
		},
	}
	colors := append(digits[:], color.RGBA{0xff, 0xff, 0xff, 0xff})
	for name, sight := range sights {
		least := math.Inf(1)
		for i := range colors {
			for j := range i {
				a, b := lab(colors[i], sight), lab(colors[j], sight)
				distance := math.Sqrt((a[0]-b[0])*(a[0]-b[0]) + (a[1]-b[1])*(a[1]-b[1]) + (a[2]-b[2])*(a[2]-b[2]))
				least = min(least, distance)
				if distance < 15 {
					t.Errorf("%s: colours %d and %d differ by %.1f only", name, j, i, distance)
				}
			}
		}
		t.Logf("%s: the nearest two differ by %.1f", name, least)
	}
}

// lab is a colour as seen, in CIE L*a*b* with white D65.
func lab(c color.RGBA, sight [3][3]float64) [3]float64 {
	var linear, seen [3]float64
	for i, part := range [3]uint8{c.R, c.G, c.B} {
		value := float64(part) / 255
		if value <= 0.04045 {
			linear[i] = value / 12.92
		} else {
			linear[i] = math.Pow((value+0.055)/1.055, 2.4)
		}
	}
	for i := range seen {
		for j := range linear {
			seen[i] += sight[i][j] * linear[j]
		}
		seen[i] = min(1, max(0, seen[i]))
	}
	f := func(t float64) float64 {
		if t > 216.0/24389 {
			return math.Cbrt(t)
		}
		return (24389.0/27*t + 16) / 116
	}
	x := f((0.4124564*seen[0] + 0.3575761*seen[1] + 0.1804375*seen[2]) / 0.95047)
	y := f(0.2126729*seen[0] + 0.7151522*seen[1] + 0.0721750*seen[2])
	z := f((0.0193339*seen[0] + 0.1191920*seen[1] + 0.9503041*seen[2]) / 1.08883)
	return [3]float64{116*y - 16, 500 * (x - y), 200 * (y - z)}
}
