package latent

// The two parts of t-SNE's gradient, for points from first to last-1. With q_ij = 1 / (1 + |y_i - y_j|^2), Z the sum of
// q over all ordered pairs, and F the two functions' results,
//
//	dC/dy_i = 4 (attraction F_i - repulsion F_i / Z)
//
// There is one function for each dimension: the loops are most of the time.

// attract2 sets force to the sum over j of p_ij q_ij (y_i - y_j), for points in two dimensions.
func (a *affinities) attract2(embedding, force []float64, first, last int) {
	for i := first; i < last; i++ {
		x, y := embedding[2*i], embedding[2*i+1]
		var fx, fy float64
		for _, entry := range a.row(i) {
			other := embedding[2*int(entry.point):][:2:2]
			dx, dy := x-other[0], y-other[1]
			w := float64(entry.probability) / (1 + (float64(dx*dx) + float64(dy*dy)))
			fx += float64(w * dx)
			fy += float64(w * dy)
		}
		force[2*i], force[2*i+1] = fx, fy
	}
}

// attract3 is attract2 in three dimensions.
func (a *affinities) attract3(embedding, force []float64, first, last int) {
	for i := first; i < last; i++ {
		at := embedding[3*i:][:3:3]
		x, y, z := at[0], at[1], at[2]
		var fx, fy, fz float64
		for _, entry := range a.row(i) {
			other := embedding[3*int(entry.point):][:3:3]
			dx, dy, dz := x-other[0], y-other[1], z-other[2]
			w := float64(entry.probability) / (1 + (float64(dx*dx) + float64(dy*dy) + float64(dz*dz)))
			fx += float64(w * dx)
			fy += float64(w * dy)
			fz += float64(w * dz)
		}
		force[3*i], force[3*i+1], force[3*i+2] = fx, fy, fz
	}
}

// repel2 sets force to the sum over j of q_ij^2 (y_i - y_j), for points in two dimensions by their places in Morton
// order, and returns the sum of their q_ij. force is by the points' numbers.
//
// Points go through the tree in pairs, which are close together as a rule: a cell stands for its points where it may
// for both. That takes two thirds of the time of one by one, because most of that goes into branches that can't be
// predicted, and it errs less.
func (t *cellTree) repel2(force []float64, first, last int) float64 {
	var total float64
	cells := t.cells
	for place := first; place < last; place += 2 {
		// The last of an odd number is paired with itself.
		partner := min(place+1, last-1)
		a, b := t.sorted[2*place:][:2:2], t.sorted[2*partner:][:2:2]
		ax, ay := a[0], a[1]
		bx, by := b[0], b[1]
		var fax, fay, sumA, fbx, fby, sumB float64
		for at := 0; at < len(cells); {
			c := &cells[at]
			dax, dbx := ax-c.center[0], bx-c.center[0]
			day, dby := ay-c.center[1], by-c.center[1]
			a2 := float64(dax*dax) + float64(day*day)
			b2 := float64(dbx*dbx) + float64(dby*dby)
			switch {
			case a2 > c.reach && b2 > c.reach:
				qa, qb := 1/(1+a2), 1/(1+b2)
				wa, wb := float64(c.mass*qa), float64(c.mass*qb)
				sumA += wa
				sumB += wb
				wa *= qa
				wb *= qb
				fax += float64(wa * dax)
				fay += float64(wa * day)
				fbx += float64(wb * dbx)
				fby += float64(wb * dby)
				at = int(c.next)
			case c.leaf:
				for points := t.sorted[2*c.first : 2*c.last]; len(points) >= 2; points = points[2:] {
					dax, dbx := ax-points[0], bx-points[0]
					day, dby := ay-points[1], by-points[1]
					qa := 1 / (1 + (float64(dax*dax) + float64(day*day)))
					qb := 1 / (1 + (float64(dbx*dbx) + float64(dby*dby)))
					sumA += qa
					sumB += qb
					wa, wb := float64(qa*qa), float64(qb*qb)
					fax += float64(wa * dax)
					fay += float64(wa * day)
					fbx += float64(wb * dbx)
					fby += float64(wb * dby)
				}
				at = int(c.next)
			default:
				at++
			}
		}
		i, j := 2*int(t.order[place]), 2*int(t.order[partner])
		force[i], force[i+1] = fax, fay
		force[j], force[j+1] = fbx, fby
		// A point itself is among the others, with q = 1.
		total += sumA - 1
		if partner > place {
			total += sumB - 1
		}
	}
	return total
}

// repel3 is repel2 in three dimensions.
func (t *cellTree) repel3(force []float64, first, last int) float64 {
	var total float64
	cells := t.cells
	for place := first; place < last; place += 2 {
		// The last of an odd number is paired with itself.
		partner := min(place+1, last-1)
		a, b := t.sorted[3*place:][:3:3], t.sorted[3*partner:][:3:3]
		ax, ay, az := a[0], a[1], a[2]
		bx, by, bz := b[0], b[1], b[2]
		var fax, fay, faz, sumA, fbx, fby, fbz, sumB float64
		for at := 0; at < len(cells); {
			c := &cells[at]
			dax, dbx := ax-c.center[0], bx-c.center[0]
			day, dby := ay-c.center[1], by-c.center[1]
			daz, dbz := az-c.center[2], bz-c.center[2]
			a2 := float64(dax*dax) + float64(day*day) + float64(daz*daz)
			b2 := float64(dbx*dbx) + float64(dby*dby) + float64(dbz*dbz)
			switch {
			case a2 > c.reach && b2 > c.reach:
				qa, qb := 1/(1+a2), 1/(1+b2)
				wa, wb := float64(c.mass*qa), float64(c.mass*qb)
				sumA += wa
				sumB += wb
				wa *= qa
				wb *= qb
				fax += float64(wa * dax)
				fay += float64(wa * day)
				faz += float64(wa * daz)
				fbx += float64(wb * dbx)
				fby += float64(wb * dby)
				fbz += float64(wb * dbz)
				at = int(c.next)
			case c.leaf:
				for points := t.sorted[3*c.first : 3*c.last]; len(points) >= 3; points = points[3:] {
					dax, dbx := ax-points[0], bx-points[0]
					day, dby := ay-points[1], by-points[1]
					daz, dbz := az-points[2], bz-points[2]
					qa := 1 / (1 + (float64(dax*dax) + float64(day*day) + float64(daz*daz)))
					qb := 1 / (1 + (float64(dbx*dbx) + float64(dby*dby) + float64(dbz*dbz)))
					sumA += qa
					sumB += qb
					wa, wb := float64(qa*qa), float64(qb*qb)
					fax += float64(wa * dax)
					fay += float64(wa * day)
					faz += float64(wa * daz)
					fbx += float64(wb * dbx)
					fby += float64(wb * dby)
					fbz += float64(wb * dbz)
				}
				at = int(c.next)
			default:
				at++
			}
		}
		i, j := 3*int(t.order[place]), 3*int(t.order[partner])
		force[i], force[i+1], force[i+2] = fax, fay, faz
		force[j], force[j+1], force[j+2] = fbx, fby, fbz
		total += sumA - 1
		if partner > place {
			total += sumB - 1
		}
	}
	return total
}
