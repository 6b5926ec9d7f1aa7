package lead

// waker can be told that there may be something to do.
type waker interface {
	wake()
}

// bell wakes one loop. It has an element when the loop must look.
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
