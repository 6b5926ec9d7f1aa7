package lattice

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
)

// rounds of the network. Four suffice in theory for large domains; small ones need more.
const rounds = 8

// permutation is a pseudorandom permutation of the numbers below n, without a list: a balanced Feistel network permutes
// the numbers below the smallest power of 4 that is at least n, and is applied again until the result is below n (cycle
// walking: J. Black and P. Rogaway, Ciphers with Arbitrary Finite Domains, 2002). On average that takes at most 4
// times.
type permutation struct {
	n    uint64
	half uint // bits of each half
	keys [rounds]uint64
}

// newPermutation returns the permutation that follows from a text.
func newPermutation(text string, n uint64) *permutation {
	p := &permutation{n: n, half: max(1, uint(bits.Len64(max(n, 1)-1)+1)/2)}
	for round := range p.keys {
		key := sha256.Sum256(append([]byte{byte(round)}, text...))
		p.keys[round] = binary.LittleEndian.Uint64(key[:])
	}
	return p
}

// at returns the number at a place, which is below n.
func (p *permutation) at(place uint64) uint64 {
	mask := uint64(1)<<p.half - 1
	for {
		left, right := place>>p.half, place&mask
		for _, key := range p.keys {
			left, right = right, left^mix(right^key)&mask
		}
		if place = left<<p.half | right; place < p.n {
			return place
		}
	}
}

// place returns the place of a number, which is below n: the inverse of at.
func (p *permutation) place(number uint64) uint64 {
	mask := uint64(1)<<p.half - 1
	for {
		left, right := number>>p.half, number&mask
		for round := rounds - 1; round >= 0; round-- {
			left, right = right^mix(left^p.keys[round])&mask, left
		}
		if number = left<<p.half | right; number < p.n {
			return number
		}
	}
}

// mix is the finalizer of splitmix64 (G. Steele, D. Lea and C. Flood, 2014): every bit of x changes about half of all
// bits.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
