// Package webhook delivers events to web hooks: a [Sender] makes one signed request, and a [Deliverer] is the leader's loop
// that sends what the store says is to be sent, in the order of each hook, and records what has become of it.
//
// An attempt is recorded after it was made. So a new leader may make the last ones again: a receiver gets each event at least
// once, and knows it by its id. Nothing else waits for a receiver: each hook has a request at a time, and what waits for it is
// in the store, which bounds it.
package webhook
