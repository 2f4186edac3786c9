// Package tcp has the streams of Node's net: a [Server] accepts them, and a [Stream] can be opened
// as a client. A stream is bytes as they come, in the clear or inside TLS. For raw clients of a
// port's hub, whose bytes are messages, see package raw.
//
// # Streams
//
// An echo server, to be tried with "nc localhost 8124":
//
//	srv := &tcp.Server{Events: &tcp.Events{
//		OnConnect: func(s *tcp.Stream) { s.Write([]byte("hello\r\n")) },
//		OnData:    func(s *tcp.Stream, p []byte) { s.Write(p) },
//		OnEnd:     func(s *tcp.Stream) { s.End([]byte("goodbye\r\n")) },
//	}}
//	if err := srv.Listen("tcp", "localhost:8124"); err != nil {
//		log.Fatal(err)
//	}
//	select {}
//
// A client is a Stream too:
//
//	s := &tcp.Stream{Events: &tcp.Events{
//		OnData:  func(s *tcp.Stream, p []byte) { os.Stdout.Write(p) },
//		OnClose: func(s *tcp.Stream, hadError bool) { time.AfterFunc(time.Second, func() { s.Dial(ctx, "tcp", addr) }) },
//	}}
//	err := s.Dial(ctx, "tcp", addr)
//
// OnConnection can give each stream Events of its own, funcs that know what belongs to that one.
// The events of a stream come one at a time: OnConnect, OnSecure, OnData and OnDrain, OnEnd,
// OnError, OnClose; OnTimeout at any time between. On Linux an idle stream is a descriptor and a
// few hundred bytes: no goroutine, buffer or timer; a secure one has the state of TLS too.
//
// A Server listens itself, on as many addresses as there are Servers, or is a route of a port
// beside HTTP and WebSocket:
//
//	port.Handle("echo", matchers.Prefix("ECHO"), srv)
//
// # Node's names
//
//	net.createServer(listener), 'connection'   Server, OnConnection
//	server.listen(port, host), (path)          Listen("tcp", "host:port"), Listen("unix", path), which return when it listens
//	server.listenFD(fd)                        ListenFD; ListenOn for any net.Listener
//	server.close(), 'close'                    Close, OnClose; Shutdown also ends the streams
//	server.address()                           Addr
//	server.maxConnections, connections         MaxConnections, Connections
//	'error' of the server                      the error of Listen; OnError
//	net.createConnection, stream.connect       Dial on a closed Stream; Open for a net.Conn that is there already
//	'connect' 'secure' 'data' 'end'            OnConnect, OnSecure, OnData, OnEnd
//	'timeout' 'drain' 'error' 'close'          OnTimeout, OnDrain, OnError, OnClose
//	stream.write(data), (text, encoding)       Write, WriteString
//	stream.end(data), destroy()                End, Destroy
//	stream.pause(), resume()                   Pause, Resume
//	stream.setEncoding(encoding)               SetEncoding: Bytes, ASCII (also binary), UTF8, Base64
//	stream.setTimeout(ms)                      SetTimeout
//	stream.setNoDelay, setKeepAlive            SetNoDelay, SetKeepAlive
//	stream.setSecure(credentials)              SetSecure(*tls.Config)
//	stream.verifyPeer(), getPeerCertificate()  VerifyPeer, PeerCertificate
//	stream.readyState                          ReadyState
//	stream.remoteAddress, remotePort           RemoteAddress
//	stream.server                              Server
//	allowHalfOpen                              AllowHalfOpen, of the Server or the Stream
//	sys.pump(source, stream), stream.pipe      ReadFrom
//	net.isIP, isIPv4, isIPv6                   IsIP, IsIPv4, IsIPv6
//
// # What differs, on purpose
//
//   - In OnEnd the stream can still be written to, also without AllowHalfOpen: it ends itself after OnEnd. In Node it had
//     ended before, so that the echo server of its own document crashed.
//   - OnError is always followed by OnClose(true), also when a name cannot be resolved. Dial returns the error too.
//   - OnTimeout is told again when there was a byte since it was told last; in Node it came once.
//   - A secure stream that stops without a close_notify is cut, maybe by somebody on the way: OnError with io.ErrUnexpectedEOF,
//     no OnEnd.
//   - Write returns an error when the stream was ended, instead of throwing, and when the queue is full: memory is bounded.
//     While the queue is full the stream is not read either, so that an echo to a peer that does not read loses nothing.
//   - Text is UTF-8 unless it is told otherwise, and no encoding depends on how the network cuts the stream.
//   - Data is bytes unless SetEncoding is called. Nobody need listen for OnData: what comes is dropped then, as in Node.
//   - There is no OnDrain without a Write that said that something is queued. Where there is no epoll each Write says so,
//     because another goroutine writes.
//   - Destroy twice is once; Connections is never negative. A stale Unix socket is removed by Listen only if nobody listens
//     on it, and a file that is no socket never is.
//   - Nagle's algorithm is on until SetNoDelay(true), as in Node and unlike elsewhere in Go; keep-alive probes are on until
//     SetKeepAlive(false), as elsewhere in Go.
//   - A client that is told the server's name in SetSecure's config refuses a certificate for another. Without a name the
//     certificate is only reported, as in Node: ask VerifyPeer before trusting it.
package tcp
