package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"millrace/engine"
)

var proxyCommand = command{
	name: "proxy", args: "--listen ADDR --to HOST:PORT[,HOST:PORT…] [flags]",
	short: "run an HTTP proxy without a file",
	long: `Listens on an address and balances HTTP requests over hosts, without a
configuration file. An address is IP:PORT, :PORT or unix:PATH. With a certificate
and its key it speaks HTTPS, HTTP/2 too, and follows the files when they change.

  millrace proxy --listen :8080 --to 127.0.0.1:9000
  millrace proxy --listen :8080 --to 10.0.0.1:80,10.0.0.2:80 --admin 127.0.0.1:9901
  millrace proxy --listen :8443 --to 127.0.0.1:9000 --tls-cert web.crt --tls-key web.key`,
	run: runProxy,
}

func runProxy(e *env, c *command, args []string) int {
	f := newFlags(e, c)
	listen := f.String("listen", "", "`addr` to accept connections on.")
	to := f.String("to", "", "`hosts` to forward to, separated by commas.")
	cert := f.String("tls-cert", "", "`file` with the certificate and its intermediates, PEM. Default: no TLS.")
	key := f.String("tls-key", "", "`file` with the key of the certificate, PEM.")
	var p processFlags
	p.add(f)
	p.withoutFile(f, "`addr` of the admin port. Default: none.")
	if code, ok := parse(e, c, f, args, 0); !ok {
		return code
	}
	text, err := proxyConfig(*listen, *to, *cert, *key)
	if err != nil {
		return usageError(e, c, err.Error())
	}
	opt, err := p.options(e, append([]string{"proxy"}, args...))
	if err != nil {
		return usageError(e, c, err.Error())
	}
	opt.ConfigPath, opt.Text = "command line", text
	return serve(e, opt, nil)
}

// proxyConfig writes the configuration of a proxy without a file.
func proxyConfig(listen, to, cert, key string) ([]byte, error) {
	switch {
	case listen == "" || to == "":
		return nil, errors.New("--listen and --to are both needed")
	case (cert == "") != (key == ""):
		return nil, errors.New("--tls-cert and --tls-key are only of use together")
	}
	if _, err := engine.ParseAddr(listen); err != nil {
		return nil, fmt.Errorf("--listen: %w", err)
	}
	hosts := strings.Split(to, ",")
	for _, h := range hosts {
		if _, err := engine.ParseAddr(h); err != nil {
			return nil, fmt.Errorf("--to: %w", err)
		}
	}
	type object map[string]any
	listener := object{"name": "proxy", "address": listen, "filters": []object{{
		"name": "http_connection_manager", "config": object{
			"stat_prefix": "proxy", "use_remote_address": true,
			"route_config": object{"routes": []object{{
				"match": object{"prefix": "/"}, "route": object{"cluster": "hosts", "upgrades": []string{"websocket"}},
			}}},
		},
	}}}
	if cert != "" {
		listener["tls"] = object{
			"certificates": []object{{"cert_file": cert, "key_file": key}}, "alpn": []string{"h2", "http/1.1"},
		}
	}
	return json.Marshal(object{
		"listeners": []object{listener},
		"clusters":  []object{{"name": "hosts", "hosts": hosts}},
	})
}
