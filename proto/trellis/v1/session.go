package trellisv1

// SessionProtocol is the version of the protocol that a worker and its coordinator speak over WorkerService.Session.
// Both sides must use the same version: see worker/DESIGN.md.
const SessionProtocol = 7

// MaxSessionRequest is how many bytes a request of a session may have. A coordinator refuses larger ones: of each
// session it holds one beyond what may wait for the log. Workers send at most half as many, and only a few KiB before
// they are acknowledged.
const MaxSessionRequest = 256 << 10

// Parts returns the requests that a request consists of: those of its batch, or itself.
func (x *SessionRequest) Parts() []*SessionRequest {
	if batch := x.GetBatch(); batch != nil {
		return batch.GetRequests()
	}
	return []*SessionRequest{x}
}

// Parts returns the responses that a response consists of: those of its batch, or itself.
func (x *SessionResponse) Parts() []*SessionResponse {
	if batch := x.GetBatch(); batch != nil {
		return batch.GetResponses()
	}
	return []*SessionResponse{x}
}
