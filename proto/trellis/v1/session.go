package trellisv1

// SessionProtocol is the version of the protocol that a worker and its coordinator speak over WorkerService.Session.
// Both sides must use the same version: see worker/DESIGN.md.
const SessionProtocol = 5
