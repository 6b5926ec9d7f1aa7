package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"trellis/command/configuration"
	"trellis/command/exit"
)

// encryption are the flags of connections with encryption.
var encryption = []string{"authority", "certificate"}

// ChooseEncryption leaves one of --insecure and of what is for connections with encryption, where they have different
// origins: a flag wins over a variable, a variable over the file. With --insecure, a token of a lower origin goes too: it
// is not sent without encryption.
func (o *ClientOptions) ChooseEncryption() error {
	if !o.Credentials.Insecure {
		return nil
	}
	insecure := configuration.OriginOf(o.cmd, "insecure")
	beaten := func(flag string) bool { return configuration.OriginOf(o.cmd, flag) < insecure }
	for _, flag := range encryption {
		value := &o.Credentials.Authority
		if flag == "certificate" {
			value = &o.Credentials.Certificate
		}
		switch {
		case *value == "":
		case beaten(flag):
			*value = ""
		case configuration.OriginOf(o.cmd, flag) > insecure:
			o.Credentials.Insecure = false
		default:
			return exit.Usagef("%s cannot be combined with %s, which is for connections with encryption: leave out one of them",
				configuration.NameOf(o.cmd, "insecure"), configuration.NameOf(o.cmd, flag))
		}
	}
	if !o.Credentials.Insecure {
		return nil
	}
	if o.Credentials.Certificate == "" {
		o.Credentials.Key = ""
	}
	if beaten("token-file") {
		o.Credentials.TokenFile = ""
	}
	return nil
}

// EncryptedBy is what has a command use TLS: the flags, variables or settings by their names.
func EncryptedBy(cmd *cobra.Command) string {
	var names []string
	for _, flag := range encryption {
		if configuration.OriginOf(cmd, flag) != configuration.FromDefault {
			names = append(names, configuration.NameOf(cmd, flag))
		}
	}
	return strings.Join(names, " and ")
}
