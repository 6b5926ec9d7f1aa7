package kernel

// LogSoftmax makes logarithms of probabilities out of scores, (class, lane) each:
//
//	y[class] = x[class] - log(sum over classes: exp(x))
//
// The largest score is subtracted first, so that no exponential overflows. Sums and logarithms are float64, with Log.
// Exponentials is as long as x, and loses what it has. y must not be x.
func LogSoftmax(y, x, exponentials []float32) {
	check("y", y, len(x))
	check("exponentials", exponentials, len(x))
	checkClasses(x)
	p := active.Load()
	p.subtractLargest(y, x)
	p.exp(exponentials, y)
	p.subtractLogarithm(y, exponentials)
}

// LogSoftmaxBackward computes the gradient of LogSoftmax's input from that of its output, y:
//
//	dx[class] = dy[class] - exp(y[class]) * (sum over classes: dy)
//
// It is 0 where that sum is, as in lanes without an image, where y may be anything. dx must not be dy.
func LogSoftmaxBackward(dx, dy, y []float32) {
	check("dx", dx, len(y))
	check("dy", dy, len(y))
	checkClasses(y)
	p := active.Load()
	p.exp(dx, y)
	p.logSoftmaxBackward(dx, dy)
}

// MostProbable computes which class of (class, lane) has the largest value in each lane, the first of these if there
// are several. A value that is not a number is never larger, nor is another larger than the first class's if that is
// not a number.
func MostProbable(classes *[Lanes]float32, x []float32) {
	checkClasses(x)
	active.Load().mostProbable(classes, x)
}

func checkClasses(x []float32) {
	checkTile("x", x)
	if len(x) == 0 {
		panic("kernel: no classes")
	}
}

func subtractLargestPortable(y, x []float32) {
	// A NaN passes: no comparison with it holds, and the sum has it.
	largest := [Lanes]float32(x)
	for i := Lanes; i < len(x); i += Lanes {
		for lane, value := range (*[Lanes]float32)(x[i:]) {
			if value > largest[lane] {
				largest[lane] = value
			}
		}
	}
	for i := 0; i < len(x); i += Lanes {
		to := (*[Lanes]float32)(y[i:])
		for lane, value := range (*[Lanes]float32)(x[i:]) {
			to[lane] = value - largest[lane]
		}
	}
}

func subtractLogarithmPortable(y, exponentials []float32) {
	var sums [Lanes]float64
	for i := 0; i < len(exponentials); i += Lanes {
		for lane, value := range (*[Lanes]float32)(exponentials[i:]) {
			sums[lane] += float64(value)
		}
	}
	for lane, sum := range sums {
		sums[lane] = Log(sum)
	}
	for i := 0; i < len(y); i += Lanes {
		values := (*[Lanes]float32)(y[i:])
		for lane, logarithm := range &sums {
			values[lane] = float32(float64(values[lane]) - logarithm)
		}
	}
}

// logSoftmaxBackwardPortable finds the exponentials in dx.
func logSoftmaxBackwardPortable(dx, dy []float32) {
	var sums [Lanes]float32
	for i := 0; i < len(dy); i += Lanes {
		for lane, value := range (*[Lanes]float32)(dy[i:]) {
			sums[lane] += value
		}
	}
	for i := 0; i < len(dy); i += Lanes {
		to, from := (*[Lanes]float32)(dx[i:]), (*[Lanes]float32)(dy[i:])
		for lane, sum := range &sums {
			if sum == 0 {
				to[lane] = 0
				continue
			}
			to[lane] = from[lane] - float32(to[lane]*sum)
		}
	}
}

func mostProbablePortable(classes *[Lanes]float32, x []float32) {
	largest := [Lanes]float32(x)
	*classes = [Lanes]float32{}
	for i := Lanes; i < len(x); i += Lanes {
		for lane, value := range (*[Lanes]float32)(x[i:]) {
			if value > largest[lane] {
				largest[lane], classes[lane] = value, float32(i/Lanes)
			}
		}
	}
}
