// Package credentials has the commands about who may do what: tokens, and who has changed what.
package credentials
