// Package worker trains the runs that a coordinator assigns. A worker has one session with its coordinator, trains as
// many runs in parallel as it has slots, and streams each epoch's losses back. DESIGN.md describes the protocol.
//
// For each attempt, a worker keeps reports, checkpoints and the outcome, in the order in which they were made, until
// they are acknowledged. So nothing is lost with a session. Training continues until the lease is about to run out, and
// the next session begins with what is not acknowledged:
//
//	waiting for a slot -> training -> outcome to deliver -> acknowledged: forgotten
//	waiting for a slot | training -> suspended, when the worker is cut off;   suspended -> waiting for a slot when welcomed
//	any of them -> forgotten, when the coordinator stops the attempt or no longer knows it
//
// # Goroutines
//
// One goroutine, Worker.Run, owns all state, and only it changes the state. It never waits for the network:
//
//	Run ............. the loop: owns attempts, decides what is sent
//	session reader .. receives responses and passes them to Run
//	session writer .. sends the one request that Run has given it, then says that it is ready for another
//	attempt ......... one each: waits for a slot, fetches the data set and the checkpoint, trains, passes reports and the
//	                  outcome to Run
//	upload .......... one for each attempt that has checkpoints: uploads them, and tells Run
//	download ........ one for each data set that is being fetched, shared by the attempts that wait for it
//
// There is no queue between Run and the network: the attempts hold what has not been sent. A stream that hangs blocks
// nobody, and reports that pile up are sent in one batch.
package worker
