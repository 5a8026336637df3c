package accesslog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// alternative is one entry of COALESCE, before it is looked up.
type alternative struct {
	name string
	call call
}

// UnmarshalJSON reads an operator's name, or {"command": NAME, "param": ARGUMENT, "max_length": LENGTH}.
func (a *alternative) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &a.name)
	}
	var in struct {
		Command   string  `json:"command"`
		Param     *string `json:"param"`
		MaxLength int     `json:"max_length"`
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return err
	}
	if in.MaxLength < 0 {
		return fmt.Errorf("max_length %d is below 0", in.MaxLength)
	}
	a.name, a.call.max = in.Command, in.MaxLength
	if in.Param != nil {
		a.call.arg, a.call.hasArg = *in.Param, true
	}
	return nil
}

// parseCoalesce reads the list. The operators are looked up by newOperator, as the table must not refer to itself.
func parseCoalesce(o *operator, arg string) error {
	var in struct {
		Operators []alternative `json:"operators"`
	}
	d := json.NewDecoder(bytes.NewReader([]byte(arg)))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return fmt.Errorf("the list of operators is not readable: %w", err)
	}
	if d.More() {
		return errors.New("something follows the list of operators")
	}
	if len(in.Operators) == 0 {
		return errors.New(`there is no operator in "operators"`)
	}
	o.alternatives = in.Operators
	return nil
}

// lookUp makes operators of the alternatives.
func (o *operator) lookUp() error {
	for _, a := range o.alternatives {
		if a.name == coalesceName {
			return problem(coalesceName+" inside of itself", "write its operators into the outer list")
		}
		alt, err := newOperator(a.name, a.call)
		if err != nil {
			return err
		}
		o.of = append(o.of, alt)
	}
	o.alternatives = nil
	return nil
}
