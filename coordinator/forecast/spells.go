package forecast

// spell is a number of consecutive epochs of a run.
type spell struct{ epochs, seconds float64 }

// pace returns how many seconds an epoch took.
func (s spell) pace() float64 { return s.seconds / s.epochs }

// maxSpells is the maximum number of spells of one run. Spells of long runs are longer.
const maxSpells = 32

// spellsOf divides the epochs of a run into spells, in order. If an earlier version of Trellis started the run, the
// times of some or all epochs may be unknown. These epochs, of which only the sum is known, form the first spell.
func spellsOf(times []float32, epochs, seconds float64) (spells []spell) {
	known := 0
	for _, took := range times {
		if took > 0 {
			known++
			seconds -= float64(took)
		}
	}
	if rest := epochs - float64(known); rest >= 1 && seconds > 0 {
		spells = append(spells, spell{rest, seconds})
	}
	long := 1
	for known > long*maxSpells {
		long *= 2
	}
	var next spell
	for _, took := range times {
		if took <= 0 {
			continue
		}
		next.epochs++
		next.seconds += float64(took)
		known--
		if int(next.epochs) == long || known == 0 {
			spells = append(spells, next)
			next = spell{}
		}
	}
	return spells
}
