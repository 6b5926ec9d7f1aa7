package forecast

// spell is some epochs of a run in a row.
type spell struct{ epochs, seconds float64 }

// pace is how long an epoch took, in seconds.
func (s spell) pace() float64 { return s.seconds / s.epochs }

// maxSpells is how many spells of one run are kept. Spells of long runs are longer.
const maxSpells = 32

// spellsOf divides the epochs of a run into spells, in their order. What the epochs took may be known of some only, or
// of none, if the run was begun by an earlier version of Trellis: the others, of which the sum is known, are the first
// spell.
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
