package node

import (
	"context"
	"net"
	"slices"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/exit"
	"trellis/coordinator"
	"trellis/results/page"
)

// Place says where a coordinator listens and where it finds what it needs.
type Place struct {
	// Listen is the address to listen on, and HTTP that for the page and the API over HTTP, empty for none. One that other
	// machines can reach takes TLS or Insecure.
	Listen, HTTP string
	Insecure     bool
	Data         *DataOptions
	// DirectoryFlag is the flag that has named the data directory; empty for --data.
	DirectoryFlag string
}

// Coordinator is a coordinator in this process that has its data directory and its address, and is to be served.
type Coordinator struct {
	// Address is where it listens, Advertise how others are to call it.
	Address, Advertise string
	// Link is where the page and the API over HTTP are, empty for nowhere: https://host:8080.
	Link string
	// LinkHosts are the hosts that the certificate is for, if Link has none of them.
	LinkHosts string
	Directory Directory

	dataSets *dataSets
	server   *coordinator.Coordinator
}

// Open makes a coordinator ready. config.Data is the data directory, which is made if it is not there.
func Open(ctx context.Context, config coordinator.Config, place Place) (*Coordinator, error) {
	dataSets, err := newDataSets(ctx, place.Data)
	if err != nil {
		return nil, err
	}
	config.Specs = specs{}
	if !config.TLS.Given() {
		if config.NoPrograms, err = place.isOpen(ctx); err != nil {
			return nil, err
		}
	}
	listener, err := listen(ctx, "listen", place.Listen)
	if err != nil {
		return nil, err
	}
	if config.Advertise == "" {
		config.Advertise = certifiedAddress(config.TLS, place.Listen, reachableAddress(listener))
	}
	opened := &Coordinator{Address: listener.Addr().String(), Advertise: config.Advertise, dataSets: dataSets}
	if err := opened.open(ctx, config, place, listener); err != nil {
		listener.Close()
		return nil, err
	}
	return opened, nil
}

// open makes the coordinator ready that listens on a listener.
func (c *Coordinator) open(
	ctx context.Context, config coordinator.Config, place Place, listener net.Listener,
) (err error) {
	if err := checkCertificate(config.TLS, config.Advertise); err != nil {
		return err
	}
	if place.HTTP != "" {
		if config.HTTP, err = listen(ctx, "http", place.HTTP); err != nil {
			return err
		}
		defer func() {
			if err != nil {
				config.HTTP.Close()
			}
		}()
		config.Page, _ = page.Files()
		c.Link, c.LinkHosts = linkTo(ctx, config, place.HTTP)
		config.Link = c.Link
	}
	if c.Directory, err = openDirectory(config.Data, place.DirectoryFlag); err != nil {
		return err
	}
	config.Data = c.Directory.Path
	c.server, err = coordinator.New(config, listener, c.dataSets)
	return c.Directory.explainLog(err)
}

// isOpen says whether other machines reach the coordinator, where nobody is asked who they are: then anybody could run any
// program on all workers. It refuses that without --insecure.
func (p Place) isOpen(ctx context.Context) (open bool, err error) {
	for _, one := range [][2]string{{"listen", p.Listen}, {"http", p.HTTP}} {
		flag, address := one[0], one[1]
		if flag == "http" && address == "" {
			continue
		}
		host, err := hostOf(flag, address)
		if err != nil {
			return false, err
		}
		local, err := isLoopback(ctx, host)
		if err != nil {
			return false, exit.Usagef("--%s %s: %w", flag, address, err)
		}
		open = open || !local
		if p.Insecure {
			continue
		}
		if err := checkLoopback(ctx, flag, address, "set --certificate and --authority (see trellis "+
			"certificates --help); to let everybody who reaches the port do everything, add --insecure"); err != nil {
			return false, err
		}
	}
	return open, nil
}

// linkTo returns where people find the page of a coordinator that was told to serve it at an address: by the host at
// which others reach the coordinator, if the page is there too. If the certificate is not for the link's host, others
// are the hosts that it is for.
func linkTo(ctx context.Context, config coordinator.Config, told string) (link, others string) {
	address := reachableAddress(config.HTTP)
	if !config.TLS.Given() {
		return "http://" + address, ""
	}
	address = certifiedAddress(config.TLS, told, address)
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "https://" + address, ""
	}
	if advertised, _, err := net.SplitHostPort(config.Advertise); err == nil && isAt(ctx, advertised, config.HTTP.Addr()) {
		return "https://" + net.JoinHostPort(advertised, port), ""
	}
	certificate, err := cli.ReadCertificate(config.TLS.Certificate, config.TLS.Key)
	if err == nil && certificate.VerifyHostname(host) != nil {
		others = client.HostsOf(certificate)
	}
	return "https://" + address, others
}

// isAt says whether a host of this machine reaches an address at which something listens.
func isAt(ctx context.Context, host string, listening net.Addr) bool {
	at, ok := listening.(*net.TCPAddr)
	if !ok || at.IP.IsUnspecified() {
		return ok
	}
	found, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	return err == nil && slices.ContainsFunc(found, func(one net.IPAddr) bool { return one.IP.Equal(at.IP) })
}

// Ready says whether it can serve calls.
func (c *Coordinator) Ready() bool { return c.server.Ready() }

// AwaitOpen waits until the coordinator has opened its log, and returns how many nodes its cluster has: none if it waits to
// be added to one.
func (c *Coordinator) AwaitOpen(ctx context.Context) (nodes int, err error) {
	return c.server.AwaitOpen(ctx)
}

// Serve runs the coordinator until ctx is done.
func (c *Coordinator) Serve(ctx context.Context) error {
	return c.Directory.explainLog(c.server.Serve(ctx))
}
