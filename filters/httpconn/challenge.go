package httpconn

import (
	"bytes"

	"millrace/codec"
	"millrace/filters"
)

// Challenges answers CAs that want to see that a name is ours (RFC 8555 section 8.3). It may be asked on any loop.
type Challenges interface {
	// Answer returns the answer to a challenge under way for a host, "" if there is none.
	Answer(host, token string) string
}

// challengePath is where a CA looks for the answer to a challenge of kind http-01.
var challengePath = []byte("/.well-known/acme-challenge/")

// answerChallenge answers a CA, before routes and filters see the request. It returns false for all other requests: of them it looks at the
// beginning of the path.
func (s *stream) answerChallenge() bool {
	h := &s.Request
	token, ok := bytes.CutPrefix(h.Path(), challengePath)
	if !ok || h.Method() != codec.MethodGET {
		return false
	}
	answer := s.m.challenges.Answer(string(h.Authority()), string(token))
	if answer == "" {
		return false // it may be for a program behind us
	}
	s.SendLocalReply(filters.LocalReply{Status: 200, Body: answer, ContentType: "application/octet-stream", Details: "acme_challenge"})
	return true
}
