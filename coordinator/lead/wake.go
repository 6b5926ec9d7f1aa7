package lead

// waker is told that there may be something to do.
type waker interface {
	wake()
}

// bell wakes one loop. It has an element when the loop is to look.
type bell chan struct{}

var _ waker = bell(nil)

func newBell() bell { return make(bell, 1) }

// wake makes the loop look. It never waits.
func (b bell) wake() {
	select {
	case b <- struct{}{}:
	default:
	}
}
