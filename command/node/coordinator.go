package node

import (
	"context"

	"trellis/command/exit"
	"trellis/coordinator"
)

// Place says where a coordinator listens and where it finds what it needs.
type Place struct {
	// Listen is the address to listen on. One that other machines can reach takes TLS or Insecure.
	Listen   string
	Insecure bool
	Data     *DataOptions
	// DirectoryFlag is the flag that has named the data directory; empty for --data.
	DirectoryFlag string
}

// Coordinator is a coordinator in this process that has its data directory and its address, and is to be served.
type Coordinator struct {
	// Address is where it listens, Advertise how others are to call it.
	Address, Advertise string
	Directory          Directory

	dataSets *dataSets
	server   *coordinator.Coordinator
}

// Open makes a coordinator ready. config.Data is the data directory, which is made if it is not there.
func Open(ctx context.Context, config coordinator.Config, place Place) (*Coordinator, error) {
	dataSets, err := newDataSets(ctx, place.Data)
	if err != nil {
		return nil, err
	}
	if !config.TLS.Given() {
		host, err := hostOf("listen", place.Listen)
		if err != nil {
			return nil, err
		}
		local, err := isLoopback(ctx, host)
		if err != nil {
			return nil, exit.Usagef("--listen %s: %w", place.Listen, err)
		}
		// Anybody could run any program on all workers.
		config.NoPrograms = !local
	}
	if !place.Insecure && !config.TLS.Given() {
		if err := checkLoopback(ctx, "listen", place.Listen, "set --certificate and --authority (see trellis "+
			"certificates --help); to let everybody who reaches the port do everything, add --insecure"); err != nil {
			return nil, err
		}
	}
	listener, err := listen(ctx, "listen", place.Listen)
	if err != nil {
		return nil, err
	}
	if config.Advertise == "" {
		config.Advertise = reachableAddress(listener)
	}
	if err := checkCertificate(config.TLS, config.Advertise); err != nil {
		listener.Close()
		return nil, err
	}
	directory, err := openDirectory(config.Data, place.DirectoryFlag)
	if err != nil {
		listener.Close()
		return nil, err
	}
	config.Data = directory.Path
	server, err := coordinator.New(config, listener, dataSets)
	if err != nil {
		listener.Close()
		return nil, directory.explainLog(err)
	}
	return &Coordinator{
		Address: listener.Addr().String(), Advertise: config.Advertise, Directory: directory, dataSets: dataSets,
		server: server,
	}, nil
}

// AwaitOpen waits until the coordinator has opened its log, and returns how many nodes its cluster has: none if it waits to
// be added to one.
func (c *Coordinator) AwaitOpen(ctx context.Context) (nodes int, err error) {
	return c.server.AwaitOpen(ctx)
}

// Serve runs the coordinator until ctx is done.
func (c *Coordinator) Serve(ctx context.Context) error {
	return c.Directory.explainLog(c.server.Serve(ctx))
}
