package main

import td "github.com/portluck/portluck/testdata"

// client describes how a transcript is made. In command HOST and PORT stand for the address, and
// PROFILE for an empty directory.
type client struct {
	name, class string
	command     string // run by bash
	by          program
	greeting    string // sent by the server first, to a client that waits for it
}

// program is a program that must be installed, and a command that prints its version in the first
// line.
type program struct{ name, version string }

var (
	curl       = program{"curl", "curl --version"}
	openssl    = program{"openssl", "openssl version"}
	node       = program{"node", "echo node $(node --version)"}
	python     = program{"/usr/bin/python3", "/usr/bin/python3 --version"}
	websockets = program{"/usr/bin/python3", "/usr/bin/python3 -m websockets --version"}
	goTool     = program{"go", "go version"}
	netcat     = program{"nc", "dpkg-query -W -f '${Package} ${Version}' netcat-openbsd"}
	bash       = program{"bash", "bash --version"}
	chromium   = program{"chromium", "chromium --version 2>/dev/null"}
	h2load     = program{"h2load", "h2load --version"}
	wrk        = program{"wrk", "wrk -v"}
	ssh        = program{"ssh", "ssh -V"}
	redis      = program{"redis-cli", "redis-cli --version"}
	psql       = program{"psql", "psql --version"}
	mosquitto  = program{"mosquitto_pub", "mosquitto_pub --version"}
	ldap       = program{"ldapsearch", "ldapsearch -VV"}
	swaks      = program{"swaks", "swaks --version"}
)

const (
	chrome = "chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking " +
		"--disable-component-update --disable-sync --disable-features=LocalNetworkAccessChecks --user-data-dir=PROFILE "
)

// clients has a client for each transcript.
var clients = []client{
	{"curl-get", td.HTTP1, "curl -s http://HOST:PORT/", curl, ""},
	{"curl-head", td.HTTP1, "curl -sI http://HOST:PORT/", curl, ""},
	{"curl-post", td.HTTP1, "curl -s -d hello http://HOST:PORT/", curl, ""},
	{"curl-put-chunked", td.HTTP1, "echo hello | curl -s -T - http://HOST:PORT/", curl, ""},
	{"curl-patch", td.HTTP1, "curl -s -X PATCH -d '{}' http://HOST:PORT/a", curl, ""},
	{"curl-options-star", td.HTTP1, "curl -s -X OPTIONS --request-target '*' http://HOST:PORT/", curl, ""},
	{"curl-options", td.HTTP1, "curl -s -X OPTIONS -H 'Origin: http://example.com' -H 'Access-Control-Request-Method: POST' http://HOST:PORT/a/b", curl, ""},
	{"curl-lower-case", td.HTTP1, "curl -s -X get http://HOST:PORT/", curl, ""},
	{"curl-extension-method", td.HTTP1, "curl -s -X BREW http://HOST:PORT/pot", curl, ""},
	{"curl-http10", td.HTTP1, "curl -s --http1.0 http://HOST:PORT/", curl, ""},
	{"curl-proxy", td.HTTP1, "curl -s -x http://HOST:PORT http://example.com/", curl, ""},
	{"curl-connect", td.HTTP1, "curl -s -p -x http://HOST:PORT http://example.com:81/", curl, ""},
	{"curl-h2c-upgrade", td.HTTP1, "curl -s --http2 http://HOST:PORT/", curl, ""},
	{"curl-h2c", td.HTTP2, "curl -s --http2-prior-knowledge http://HOST:PORT/", curl, ""},
	{"curl-https", td.TLS, "curl -sk https://HOST:PORT/", curl, ""},
	{"curl-https-h1", td.TLS, "curl -sk --http1.1 https://HOST:PORT/", curl, ""},
	{"curl-https-tls12", td.TLS, "curl -sk --tls-max 1.2 https://HOST:PORT/", curl, ""},
	{"curl-haproxy", td.Proxy, "curl -s --haproxy-protocol http://HOST:PORT/", curl, ""},
	{"chromium-http", td.HTTP1, chrome + "http://HOST:PORT/", chromium, ""},
	{"chromium-https", td.TLS, chrome + "--ignore-certificate-errors https://HOST:PORT/", chromium, ""},
	{"chromium-ws", td.WebSocket, chrome + "'data:text/html,<script>new WebSocket(\"ws://HOST:PORT/\")</script>'", chromium, ""},
	{"chromium-wss", td.TLS, chrome + "'data:text/html,<script>new WebSocket(\"wss://HOST:PORT/\")</script>'", chromium, ""},
	{"openssl-tls13", td.TLS, "sleep 3 | openssl s_client -tls1_3 -connect HOST:PORT", openssl, ""},
	{"openssl-tls12", td.TLS, "sleep 3 | openssl s_client -tls1_2 -connect HOST:PORT", openssl, ""},
	{"openssl-alpn", td.TLS, "sleep 3 | openssl s_client -alpn h2,http/1.1 -servername localhost -connect HOST:PORT", openssl, ""},
	{"node-http", td.HTTP1, "node -e 'require(\"http\").get(\"http://HOST:PORT/\")'", node, ""},
	{"node-fetch", td.HTTP1, "node -e 'fetch(\"http://HOST:PORT/\",{method:\"POST\",body:\"x\"})'", node, ""},
	{"node-https", td.TLS, "node -e 'require(\"https\").get(\"https://HOST:PORT/\",{rejectUnauthorized:false})'", node, ""},
	{"node-tls", td.TLS, "node -e 'require(\"tls\").connect(PORT,\"HOST\",{rejectUnauthorized:false})'", node, ""},
	{"node-http2", td.HTTP2, "node -e 'require(\"http2\").connect(\"http://HOST:PORT\").request({\":path\":\"/\"})'", node, ""},
	{"python-urllib", td.HTTP1, "/usr/bin/python3 -c 'import urllib.request;urllib.request.urlopen(\"http://HOST:PORT/\",b\"x\")'", python, ""},
	{"python-http-client", td.HTTP1, "/usr/bin/python3 -c 'import http.client;http.client.HTTPConnection(\"HOST\",PORT).request(\"GET\",\"/\")'", python, ""},
	{"python-ssl", td.TLS, "/usr/bin/python3 -c 'import urllib.request,ssl;urllib.request.urlopen(\"https://HOST:PORT/\",context=ssl._create_unverified_context())'", python, ""},
	{"python-websockets", td.WebSocket, "/usr/bin/python3 -m websockets ws://HOST:PORT/", websockets, ""},
	{"go-http", td.HTTP1, "go run ./testdata/record/goclient http://HOST:PORT/", goTool, ""},
	{"go-https", td.TLS, "go run ./testdata/record/goclient https://HOST:PORT/", goTool, ""},
	{"go-h2c", td.HTTP2, "go run ./testdata/record/goclient h2c://HOST:PORT/", goTool, ""},
	{"go-tls", td.TLS, "go run ./testdata/record/goclient tls://HOST:PORT", goTool, ""},
	{"go-gobwas", td.WebSocket, "go run ./testdata/record/goclient ws://HOST:PORT/", goTool, ""},
	{"h2load-h2c", td.HTTP2, "h2load -n1 -c1 http://HOST:PORT/", h2load, ""},
	{"h2load-h1", td.HTTP1, "h2load --h1 -n1 -c1 http://HOST:PORT/", h2load, ""},
	{"wrk", td.HTTP1, "wrk -c1 -t1 -d1 http://HOST:PORT/", wrk, ""},
	{"ssh", td.SSH, "ssh -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -p PORT HOST", ssh, "SSH-2.0-portluck\r\n"},
	{"nc-line", td.Raw, "echo 'hello, world' | nc HOST PORT", netcat, ""},
	{"nc-json", td.Raw, "echo '{\"test\":true}' | nc HOST PORT", netcat, ""},
	{"nc-like-http", td.Raw, "echo 'GETTING STARTED' | nc HOST PORT", netcat, ""},
	{"redis-cli", td.Raw, "redis-cli -h HOST -p PORT ping", redis, ""},
	{"psql", td.Raw, "psql 'host=HOST port=PORT user=x sslmode=require'", psql, ""},
	{"smtp", td.Raw, "/usr/bin/python3 -c 'import smtplib;smtplib.SMTP(\"HOST\",PORT).ehlo(\"x\")'", python, "220 portluck\r\n"},
	{"swaks", td.Raw, "swaks --server HOST:PORT --helo x --quit-after EHLO", swaks, "220 portluck\r\n"},
	{"mqtt", td.Raw, "mosquitto_pub -h HOST -p PORT -t a -m b", mosquitto, ""},
	{"ldap", td.Raw, "ldapsearch -x -H ldap://HOST:PORT", ldap, ""},
	{"rtsp", td.Raw, "printf 'OPTIONS rtsp://HOST:PORT/ RTSP/1.0\\r\\nCSeq: 1\\r\\n\\r\\n' | nc HOST PORT", netcat, ""},
	{"sip", td.Raw, "printf 'OPTIONS sip:HOST:PORT SIP/2.0\\r\\nVia: SIP/2.0/TCP HOST;branch=z9hG4bK1\\r\\nMax-Forwards: 70\\r\\n" +
		"From: <sip:a@HOST>;tag=1\\r\\nTo: <sip:HOST>\\r\\nCall-ID: 1\\r\\nCSeq: 1 OPTIONS\\r\\nContent-Length: 0\\r\\n\\r\\n' | nc HOST PORT", netcat, ""},
	{"memcached", td.Raw, "printf 'stats\\r\\n' | nc HOST PORT", netcat, ""},
	{"dns-over-tcp", td.Raw, "printf '\\x00\\x1d\\x12\\x34\\x01\\x00\\x00\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x07example\\x03com\\x00\\x00\\x01\\x00\\x01' | nc HOST PORT", netcat, ""},
	// A hello of TLS 1.0 in the record of SSL 2.0: seven ciphers, no session, a challenge of 16
	// bytes (RFC 5246, appendix E.2).
	{"sslv2-hello", td.Raw, "printf '\\x80\\x2e\\x01\\x03\\x01\\x00\\x15\\x00\\x00\\x00\\x10" +
		"\\x00\\x00\\x2f\\x00\\x00\\x35\\x00\\x00\\x0a\\x07\\x00\\xc0\\x00\\x00\\x05\\x00\\x00\\x04\\x00\\x00\\xff" +
		"0123456789abcdef' | nc HOST PORT", netcat, ""},
	{"proxy-v1", td.Proxy, "printf 'PROXY TCP4 127.0.0.1 127.0.0.1 12345 80\\r\\nGET / HTTP/1.1\\r\\nHost: HOST\\r\\n\\r\\n' | nc HOST PORT", netcat, ""},
	{"proxy-v2", td.Proxy, "printf '\\r\\n\\r\\n\\x00\\r\\nQUIT\\n\\x21\\x11\\x00\\x0c\\x7f\\x00\\x00\\x01\\x7f\\x00\\x00\\x01\\x30\\x39\\x00\\x50' | nc HOST PORT", netcat, ""},
	{"bash-dev-tcp", td.Raw, "exec 3<>/dev/tcp/HOST/PORT; echo 'temp=21.5' >&3; sleep 1", bash, ""},
	{"garbage", td.Raw, "printf '\\xff\\xfe\\x00\\x01\\x02' | nc HOST PORT", netcat, ""},
}
