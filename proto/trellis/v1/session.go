package trellisv1

// SessionProtocol is the version of the protocol between worker and coordinator, which WorkerService.Session speaks.
// Both sides must have the same: see worker/DESIGN.md.
const SessionProtocol = 4
