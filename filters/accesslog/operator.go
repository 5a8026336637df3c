package accesslog

import (
	"fmt"
	"strconv"
)

// An operator is one %OPERATOR% of a format with its argument. It gets its value in exactly one of
// four ways, which tells how the value has to be printed; COALESCE has those of its operators.
type operator struct {
	// number gives a number; ok is false if there is none.
	number func(o *operator, r *Record) (n uint64, ok bool)
	// build appends a text made here, which needs no escape in either form; nothing if there is none.
	build func(dst []byte, o *operator, r *Record) []byte
	// bytes gives a text that may hold anything, as a peer sent it; nil if there is none.
	bytes func(o *operator, r *Record) []byte
	// str gives a text that may hold anything; "" if there is none.
	str func(o *operator, r *Record) string

	max     int           // the length after the colon, in bytes; 0 is no limit
	field   field         // of operators on fields
	other   field         // what to print if field is absent
	text    string        // of constant operators
	clock   strftime      // of operators on the time
	local   bool          // the time is in the zone of the machine
	prefix  int           // of addresses with a mask, in bits; -1 is none
	from    point         // of durations
	to      point         //
	unit    int64         // of durations, in nanoseconds
	addr    addressChoice // of addresses
	tls     sessionChoice // of sessions and certificates
	attempt attemptChoice // of attempts
	space   string        // of metadata: the namespace; text is the key
	noQuery bool          // of paths: without the query

	of           []*operator   // of COALESCE: the first that has a value counts
	alternatives []alternative // of COALESCE, until they are looked up
}

// append appends the value, escaped for text or for the inside of a JSON string. ok is false,
// and nothing is appended, if there is no value. A value is cut to limit bytes before it is escaped.
func (o *operator) append(dst []byte, r *Record, limit int, how escaping) (out []byte, ok bool) {
	if o.max > 0 {
		limit = min(limit, o.max)
	}
	switch {
	case o.of != nil:
		for _, alt := range o.of {
			if dst, ok = alt.append(dst, r, limit, how); ok {
				return dst, true
			}
		}
		return dst, false
	case o.number != nil:
		n, ok := o.number(o, r)
		if !ok {
			return dst, false
		}
		return strconv.AppendUint(dst, n, 10), true
	case o.bytes != nil:
		b := o.bytes(o, r)
		if b == nil {
			return dst, false
		}
		return appendBytes(dst, cut(b, limit), how), true
	case o.str != nil:
		s := o.str(o, r)
		if s == "" {
			return dst, false
		}
		return appendValue(dst, cut(s, limit), how), true
	}
	n := len(dst)
	dst = o.build(dst, o, r)
	if len(dst)-n > limit {
		dst = dst[:n+limit]
	}
	return dst, len(dst) > n
}

// escaping says what a value is printed into.
type escaping uint8

const (
	escapeNone escaping = iota
	escapeAsText
	escapeAsJSON
)

// appendBytes is appendValue for values that are mostly plain.
func appendBytes(dst, b []byte, how escaping) []byte {
	n := plainPrefix(b)
	dst = append(dst, b[:n]...)
	if n == len(b) {
		return dst
	}
	return appendValue(dst, b[n:], how)
}

func appendValue[T ~string | ~[]byte](dst []byte, s T, how escaping) []byte {
	switch how {
	case escapeAsText:
		return appendText(dst, s)
	case escapeAsJSON:
		return appendJSON(dst, s)
	case escapeNone:
	}
	return append(dst, s...)
}

// appendTyped appends the value as a JSON value of its own.
func (o *operator) appendTyped(dst []byte, r *Record, limit int) (out []byte, ok bool) {
	if o.number != nil {
		return o.append(dst, r, limit, escapeAsJSON)
	}
	if o.of != nil {
		if o.max > 0 {
			limit = min(limit, o.max)
		}
		for _, alt := range o.of {
			if dst, ok = alt.appendTyped(dst, r, limit); ok {
				return dst, true
			}
		}
		return dst, false
	}
	dst, ok = o.append(append(dst, '"'), r, limit, escapeAsJSON)
	if !ok {
		return dst[:len(dst)-1], false
	}
	return append(dst, '"'), true
}

// A call is how an operator was written.
type call struct {
	arg    string
	hasArg bool
	max    int
}

// newOperator looks an operator up and reads its argument.
func newOperator(name string, c call) (*operator, error) {
	d := definitionOf(name)
	if d == nil {
		return nil, unknownOperator(name)
	}
	o := d.operator
	o.max, o.prefix = c.max, -1
	if c.max > 0 && o.number != nil {
		return nil, problem(fmt.Sprintf("operator %q is a number and takes no length", name), "write %"+name+"%")
	}
	switch {
	case d.parse == nil && c.hasArg:
		return nil, problem(fmt.Sprintf("operator %q takes no argument", name), "write %"+name+"%")
	case d.needsArg && c.arg == "":
		return nil, problem(fmt.Sprintf("operator %q needs an argument", name), "write "+d.usage)
	case d.parse != nil:
		if err := d.parse(&o, c.arg); err != nil {
			return nil, problem(fmt.Sprintf("operator %q: %v", name, err), usageHint(d))
		}
	}
	if err := o.lookUp(); err != nil {
		return nil, err
	}
	return &o, nil
}

func usageHint(d *definition) string {
	if d.usage == "" {
		return ""
	}
	return "write " + d.usage
}

func definitionOf(name string) *definition {
	for i := range definitions {
		if definitions[i].name == name {
			return &definitions[i]
		}
	}
	return nil
}

// unknownOperator explains a name that is not in the table.
func unknownOperator(name string) error {
	for _, other := range envoyOnly {
		if other == name {
			return problem(fmt.Sprintf("operator %q is Envoy's, but nothing here gives it a value", name),
				"leave it out; docs/access-log.md lists the operators")
		}
	}
	nearest, best := "", min(4, 1+len(name)/3) // edits; beyond them a suggestion is a guess
	for i := range definitions {
		if n := editDistance(name, definitions[i].name); n < best {
			nearest, best = definitions[i].name, n
		}
	}
	hint := "docs/access-log.md lists the operators"
	if nearest != "" {
		hint = fmt.Sprintf("did you mean %%%s%%?", nearest)
	}
	return problem(fmt.Sprintf("unknown operator %q", name), hint)
}

// editDistance counts the insertions, deletions and changes that lead from a to b.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
