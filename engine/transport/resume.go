package transport

import (
	"bytes"
	"crypto/tls"

	"millrace/engine/internal/record"
)

// masterTag marks the master secret in the Extra of a session.
const masterTag = "millrace/master/1:"

// remember makes the sessions of TLS 1.2 carry their master secret where it can be read: crypto/tls logs it in full
// handshakes only, and the own record layer needs it in resumed ones too. A ticket holds it anyway, as encrypted.
func (s *shake) remember(cfg, base *tls.Config) {
	wrap, unwrap := cfg.WrapSession, cfg.UnwrapSession
	if wrap == nil {
		wrap = base.EncryptTicket
	}
	if unwrap == nil {
		unwrap = base.DecryptTicket
	}
	cfg.WrapSession = func(cs tls.ConnectionState, ss *tls.SessionState) ([]byte, error) {
		if cs.Version == tls.VersionTLS12 {
			if master := s.masterSecret(); master != nil {
				ss.Extra = append(ss.Extra, append([]byte(masterTag), master...))
			}
		}
		return wrap(cs, ss)
	}
	cfg.UnwrapSession = func(ticket []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
		ss, err := unwrap(ticket, cs)
		if err == nil && ss != nil {
			for _, e := range ss.Extra {
				if master, ok := bytes.CutPrefix(e, []byte(masterTag)); ok {
					s.master = master
				}
			}
		}
		return ss, err
	}
}

// masterSecret returns the master secret of TLS 1.2, nil if it is not known.
func (s *shake) masterSecret() []byte {
	p := record.Params{Version: record.VersionTLS12}
	if s.keys.Fill(&p) {
		return p.Master
	}
	return s.master
}

// clientRandom returns the random of the ClientHello that hello begins with, nil if it does not lie in the first record.
func clientRandom(hello []byte) []byte {
	const at = record.HeaderLen + messageHeadBytes + 2
	if len(hello) < at+32 || int(hello[3])<<8|int(hello[4]) < at-record.HeaderLen+32 {
		return nil
	}
	return hello[at : at+32]
}
