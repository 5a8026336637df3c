package codec

// Method is a request method the proxy knows, or MethodOther.
type Method uint8

const (
	MethodOther Method = iota
	MethodGET
	MethodHEAD
	MethodPOST
	MethodPUT
	MethodDELETE
	MethodCONNECT
	MethodOPTIONS
	MethodTRACE
	MethodPATCH
	methodCount
)

var methodNames = [methodCount]string{
	MethodGET: "GET", MethodHEAD: "HEAD", MethodPOST: "POST", MethodPUT: "PUT", MethodDELETE: "DELETE",
	MethodCONNECT: "CONNECT", MethodOPTIONS: "OPTIONS", MethodTRACE: "TRACE", MethodPATCH: "PATCH",
}

// methodBytes is methodNames for those who need slices. Never written.
var methodBytes = makeMethodBytes()

func makeMethodBytes() (t [methodCount][]byte) {
	for i, s := range methodNames {
		t[i] = []byte(s)
	}
	return t
}

// String returns the name, "" for MethodOther.
func (m Method) String() string {
	if m < methodCount {
		return methodNames[m]
	}
	return ""
}

// ParseMethod returns the method called b, or MethodOther. Methods are case-sensitive:
// RFC 9110 section 9.1.
func ParseMethod(b []byte) Method {
	m := MethodOther
	switch len(b) {
	case 3:
		if m = MethodGET; b[0] != 'G' {
			m = MethodPUT
		}
	case 4:
		if m = MethodPOST; b[0] != 'P' {
			m = MethodHEAD
		}
	case 5:
		if m = MethodPATCH; b[0] != 'P' {
			m = MethodTRACE
		}
	case 6:
		m = MethodDELETE
	case 7:
		if m = MethodOPTIONS; b[0] != 'O' {
			m = MethodCONNECT
		}
	}
	if string(b) != methodNames[m] {
		return MethodOther
	}
	return m
}

// Safe reports whether the method asks for no change: RFC 9110 section 9.2.1.
func (m Method) Safe() bool {
	return m == MethodGET || m == MethodHEAD || m == MethodOPTIONS || m == MethodTRACE
}

// Idempotent reports whether the request may be sent again when it is not known
// whether it was carried out: RFC 9110 section 9.2.2. MethodOther is not.
func (m Method) Idempotent() bool {
	return m.Safe() || m == MethodPUT || m == MethodDELETE
}
