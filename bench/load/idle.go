package load

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
)

// HoldIdle opens connections one after the other, sends one request on each and reads the whole answer.
// It returns the open connections, which the caller must keep reachable.
func HoldIdle(addr, path string, count int) ([]net.Conn, error) {
	conns := make([]net.Conn, 0, count)
	rd := bufio.NewReader(nil)
	for i := range count {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return conns, fmt.Errorf("connection %d of %d: %w", i+1, count, err)
		}
		conns = append(conns, c)
		rd.Reset(c)
		if err := requestOnce(c, rd, addr, path); err != nil {
			return conns, fmt.Errorf("request on connection %d of %d: %w", i+1, count, err)
		}
	}
	return conns, nil
}

func requestOnce(c net.Conn, rd *bufio.Reader, host, path string) error {
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, host); err != nil {
		return err
	}
	resp, err := http.ReadResponse(rd, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || resp.Close {
		return fmt.Errorf("status %d, close %v; want 200 on a kept connection", resp.StatusCode, resp.Close)
	}
	return nil
}
