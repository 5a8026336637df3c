package h1

import "millrace/codec"

// requestErrors are the errors of a Server, by reason: Code is the status of the answer, after which the
// connection closes.
var requestErrors = makeErrors(func(r codec.Reason) int {
	switch r {
	case codec.ReasonTargetTooLong:
		return 414
	case codec.ReasonVersionLow:
		return 426
	case codec.ReasonHeadTooLarge, codec.ReasonTooManyFields,
		codec.ReasonTrailersTooLarge, codec.ReasonTooManyTrailers:
		return 431
	case codec.ReasonTransferEncodingOther:
		return 501
	case codec.ReasonVersion:
		return 505
	default:
		return 400
	}
})

// responseErrors are the errors of a Client: an origin that cannot be understood is a bad gateway.
var responseErrors = makeErrors(func(codec.Reason) int { return 502 })

func makeErrors(code func(codec.Reason) int) []codec.Error {
	errs := make([]codec.Error, codec.Reasons())
	for i := range errs {
		r := codec.Reason(i)
		errs[i] = codec.Error{Scope: codec.ScopeConn, Code: code(r), Reason: r}
	}
	return errs
}
