package replication

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/hashicorp/raft"
)

// A connection begins with the id of the node that it is meant for: a byte with the id's length, and the id. Raft's messages name
// their receiver by its address alone. A node that has lost its data, and with it its id, may be back at that address. It has
// forgotten what it has voted for and what it has acknowledged, so it must do neither again in the name of the node that it was.

// greetingPause is how much time is at least between two warnings of connections that are meant for another node.
const greetingPause = time.Minute

// greet says which node a connection is meant for.
func greet(conn net.Conn, id raft.ServerID, timeout time.Duration) error {
	if len(id) > 255 {
		return fmt.Errorf("the id of a node has %d bytes, but the limit is 255", len(id))
	}
	if err := conn.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	if _, err := conn.Write(append([]byte{byte(len(id))}, id...)); err != nil {
		return err
	}
	return conn.SetWriteDeadline(time.Time{})
}

// readGreeting returns an error unless a connection is meant for this node.
func (t *transport) readGreeting(conn net.Conn) error {
	if err := conn.SetReadDeadline(time.Now().Add(networkTimeout)); err != nil {
		return err
	}
	var size [1]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return err
	}
	id := make([]byte, size[0])
	if _, err := io.ReadFull(conn, id); err != nil {
		return err
	}
	if string(id) != t.log.id {
		t.warnOfStranger(conn, string(id))
		return errors.New("the connection is meant for another node")
	}
	return conn.SetReadDeadline(time.Time{})
}

// warnOfStranger says that another node takes this one for a third, which it does again and again.
func (t *transport) warnOfStranger(conn net.Conn, id string) {
	t.warning.Lock()
	defer t.warning.Unlock()
	if !t.warned.IsZero() && time.Since(t.warned) < greetingPause {
		return
	}
	t.warned = time.Now()
	t.log.logger.Warn("another node takes this one for a node with another id, which had this address: remove that one from the "+
		"cluster, and this one can be added", "peer", conn.RemoteAddr(), "id", t.log.id, "other_id", id)
}

// idOf returns the id of the node of the cluster that has an address.
func (t *transport) idOf(address raft.ServerAddress) (raft.ServerID, error) {
	if started := t.raft.Load(); started != nil {
		configuration := started.GetConfiguration()
		if err := configuration.Error(); err != nil {
			return "", err
		}
		for _, server := range configuration.Configuration().Servers {
			if server.Address == address {
				return server.ID, nil
			}
		}
	}
	return "", fmt.Errorf("no node of the cluster is known to have the address %s", address)
}
