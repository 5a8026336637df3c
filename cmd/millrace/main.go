// Command millrace is an edge load balancer and proxy. See docs/ and millrace help.
package main

import (
	"fmt"
	"log/slog"
	"os"

	"millrace/cmd/internal/server"
)

func main() {
	s, err := server.Start(server.Options{ConfigPath: os.Args[len(os.Args)-1], Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	s.Wait()
	s.Close()
}
