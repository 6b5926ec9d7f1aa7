// Package access knows who speaks to a coordinator: principals, their roles, certificates and tokens.
//
// A principal is known by the certificate of its connection, whose URI name is trellis://ROLE/NAME, or by a token that a
// call carries. Nodes are known by certificates alone. What each role may do is in the coordinator's table of routes.
package access
