package discovery

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// udpBytesMax is the answer we say to take by UDP: what every path carries unfragmented.
	udpBytesMax = 1232
	// recordsMax bounds the records of an answer that are used.
	recordsMax = 4096
	// aliasesMax bounds a chain of CNAME records.
	aliasesMax = 16
)

var (
	errNoName    = errors.New("no such name")
	errNotOurs   = errors.New("not the answer to the question")
	errTruncated = errors.New("the answer is cut off")
)

// serverError is an answer that says that the server could not, or would not, answer.
type serverError struct{ code dnsmessage.RCode }

// Error implements error.
func (e serverError) Error() string {
	return "the server answers " + strings.TrimPrefix(e.code.String(), "RCode")
}

// records are what an answer says of one question.
type records struct {
	addrs []netip.Addr
	srvs  []srv
	ttl   time.Duration // the least one; noTTL without records
}

// noTTL is the time to live of what says none.
const noTTL = -1 * time.Second

// srv is one SRV record.
type srv struct {
	target                 string // absolute
	port, priority, weight uint16
}

// appendQuery appends the message that asks q.
func appendQuery(dst []byte, id uint16, q dnsmessage.Question, edns bool) ([]byte, error) {
	b := dnsmessage.NewBuilder(dst, dnsmessage.Header{ID: id, RecursionDesired: true})
	if err := b.StartQuestions(); err != nil {
		return nil, err
	}
	if err := b.Question(q); err != nil {
		return nil, err
	}
	if edns {
		if err := b.StartAdditionals(); err != nil {
			return nil, err
		}
		var h dnsmessage.ResourceHeader
		if err := h.SetEDNS0(udpBytesMax, dnsmessage.RCodeSuccess, false); err != nil {
			return nil, err
		}
		if err := b.OPTResource(h, dnsmessage.OPTResource{}); err != nil {
			return nil, err
		}
	}
	return b.Finish()
}

// parseAnswer reads the answer to q. errNotOurs means that the message has nothing to do with it.
func parseAnswer(msg []byte, id uint16, q dnsmessage.Question) (records, error) {
	var p dnsmessage.Parser
	h, err := p.Start(msg)
	if err != nil || h.ID != id || !h.Response || h.OpCode != 0 {
		return records{}, errNotOurs
	}
	if asked, err := p.Question(); err == nil {
		if asked.Type != q.Type || asked.Class != q.Class || !sameName(asked.Name, q.Name) {
			return records{}, errNotOurs
		}
	} else if h.RCode == dnsmessage.RCodeSuccess || h.RCode == dnsmessage.RCodeNameError {
		return records{}, errNotOurs // others may answer without a question
	}
	switch {
	case h.Truncated:
		return records{}, errTruncated
	case h.RCode == dnsmessage.RCodeNameError:
		return records{}, errNoName
	case h.RCode != dnsmessage.RCodeSuccess:
		return records{}, serverError{h.RCode}
	}
	if err := p.SkipAllQuestions(); err != nil {
		return records{}, fmt.Errorf("broken answer: %w", err)
	}
	a := answer{byName: map[string]*records{}, aliases: map[string]alias{}}
	if err := a.read(&p, q.Type); err != nil {
		return records{}, fmt.Errorf("broken answer: %w", err)
	}
	return a.of(q.Name)
}

// answer is the answer section of a message.
type answer struct {
	byName  map[string]*records // by name in lower case
	aliases map[string]alias
}

type alias struct {
	to  string
	ttl time.Duration
}

// read reads the records that matter.
func (a *answer) read(p *dnsmessage.Parser, want dnsmessage.Type) error {
	for range recordsMax {
		h, err := p.AnswerHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return nil
		}
		if err != nil {
			return err
		}
		name, ttl := fold(h.Name), ttlOf(h.TTL)
		if h.Class != dnsmessage.ClassINET || h.Type != want && h.Type != dnsmessage.TypeCNAME {
			if err := p.SkipAnswer(); err != nil {
				return err
			}
			continue
		}
		if h.Type == dnsmessage.TypeCNAME {
			r, err := p.CNAMEResource()
			if err != nil {
				return err
			}
			a.aliases[name] = alias{fold(r.CNAME), ttl}
			continue
		}
		r := a.byName[name]
		if r == nil {
			r = &records{ttl: ttl}
			a.byName[name] = r
		}
		r.ttl = min(r.ttl, ttl)
		if err := r.add(p, h.Type); err != nil {
			return err
		}
	}
	return nil
}

// add reads one record of a type that was asked for.
func (r *records) add(p *dnsmessage.Parser, t dnsmessage.Type) error {
	switch t {
	case dnsmessage.TypeA:
		v, err := p.AResource()
		if err != nil {
			return err
		}
		r.addrs = append(r.addrs, netip.AddrFrom4(v.A))
	case dnsmessage.TypeAAAA:
		v, err := p.AAAAResource()
		if err != nil {
			return err
		}
		r.addrs = append(r.addrs, netip.AddrFrom16(v.AAAA).Unmap())
	case dnsmessage.TypeSRV:
		v, err := p.SRVResource()
		if err != nil {
			return err
		}
		r.srvs = append(r.srvs, srv{v.Target.String(), v.Port, v.Priority, v.Weight})
	default:
		return p.SkipAnswer()
	}
	return nil
}

// of follows the aliases of a name to its records. Records of other names, which nobody asked for, are not believed.
func (a *answer) of(name dnsmessage.Name) (records, error) {
	at, ttl := fold(name), noTTL
	for range aliasesMax {
		if r := a.byName[at]; r != nil {
			if ttl != noTTL {
				r.ttl = min(r.ttl, ttl)
			}
			return *r, nil
		}
		next, ok := a.aliases[at]
		if !ok {
			return records{ttl: ttl}, nil
		}
		if ttl == noTTL || next.ttl < ttl {
			ttl = next.ttl
		}
		at = next.to
	}
	return records{}, errors.New("broken answer: aliases without end")
}

// ttlOf returns a time to live. "If the most significant bit is set it should be treated as zero" (RFC 2181, section 8).
func ttlOf(seconds uint32) time.Duration {
	if seconds > 1<<31-1 {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

func fold(n dnsmessage.Name) string { return strings.ToLower(n.String()) }

func sameName(a, b dnsmessage.Name) bool { return strings.EqualFold(a.String(), b.String()) }
