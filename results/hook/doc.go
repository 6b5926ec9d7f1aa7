// Package hook says which events web hooks are told of, which hook wants which event, and what an event has. It is pure: the
// store keeps hooks and events, and the leader delivers them.
package hook
