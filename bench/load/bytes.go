package load

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// The roles in which the program for plain bytes makes load: see bytes/bytes.c.
const (
	BytesKept  = "load"  // requests over kept connections
	BytesChurn = "churn" // a connection for each request
	BytesUDP   = "udp"   // datagrams
	BytesBulk  = "bulk"  // one long answer
	BytesIdle  = "idle"  // connections that are used once and kept
)

// A Bytes is a load of plain bytes.
type Bytes struct {
	Program     string // path of the compiled program
	Role        string
	Port        int
	Connections int
	Answer      int64 // bytes
	Duration    time.Duration
}

// Args is the command line for b.
func (b Bytes) Args() []string {
	args := []string{b.Program, b.Role, strconv.Itoa(b.Port)}
	switch b.Role {
	case BytesBulk:
		return append(args, fmt.Sprint(b.Answer))
	case BytesIdle:
		return append(args, strconv.Itoa(b.Connections))
	}
	return append(args, strconv.Itoa(b.Connections), fmt.Sprint(b.Answer), fmt.Sprintf("%.3f", b.Duration.Seconds()))
}

const (
	bytesRequestLen = 128
	bytesPattern    = "0123456789abcdef"
)

// BytesRequest asks for an answer of so many bytes.
func BytesRequest(answer int) []byte {
	b := bytes.Repeat([]byte("q"), bytesRequestLen)
	binary.LittleEndian.PutUint64(b, uint64(answer))
	return b
}

// BytesAnswer is the first answer on a connection.
func BytesAnswer(answer int) []byte {
	return bytes.Repeat([]byte(bytesPattern), answer/len(bytesPattern)+1)[:answer]
}

// ParseBytes reads what the program prints at the end of a load.
func ParseBytes(out string) (Result, error) {
	var r struct {
		Requests, Errors int64
		Seconds          float64
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		return Result{}, fmt.Errorf("report of the load of bytes: %w: %s", err, out)
	}
	return Result{r.Requests, r.Errors, time.Duration(r.Seconds * float64(time.Second))}, nil
}
