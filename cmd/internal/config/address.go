package config

import (
	"strings"

	"millrace/engine"
)

// addressProblem says what is wrong with an address, if anything.
func addressProblem(s string) *problem {
	if _, err := engine.ParseAddr(s); err != nil {
		return problemOf(err)
	}
	return nil
}

// problemOf takes an error of the form "problem; hint" apart.
func problemOf(err error) *problem {
	text, hint, _ := strings.Cut(err.Error(), "; ")
	return &problem{text, hint}
}

// addressKeys returns the sockets that a listener on s would take, as text. An
// address with port 0 takes none in particular, text that is no address none.
func addressKeys(s string, ipv4Compat bool) []string {
	a, err := engine.ParseAddr(s)
	if err != nil || !a.IsUnix() && a.Port() == 0 {
		return nil
	}
	key := a.String()
	port, all := strings.CutPrefix(key, "[::]")
	if strings.HasPrefix(key, ":") || all && ipv4Compat { // IPv4 and IPv6 at once
		if !all {
			port = key
		}
		return []string{"0.0.0.0" + port, "[::]" + port}
	}
	return []string{key}
}
