// Package tcp has the streams of Node's net: a [Server] accepts them, and a [Stream] can be opened
// as a client. A stream is bytes as they come, in the clear or inside TLS. For raw clients of a
// port's hub, whose bytes are messages, see package raw.
//
// # Streams
//
// This is an echo server. Try it with "nc localhost 8124":
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
// A client is a Stream too. This one connects again, a second after it has lost its connection:
//
//	s := &tcp.Stream{Events: &tcp.Events{
//		OnData: func(s *tcp.Stream, p []byte) { os.Stdout.Write(p) },
//		OnClose: func(s *tcp.Stream, hadError bool) {
//			time.AfterFunc(time.Second, func() { s.Dial(ctx, "tcp", addr) })
//		},
//	}}
//	err := s.Dial(ctx, "tcp", addr)
//
// OnConnection can give each stream Events of its own, whose funcs close over the stream's data. A
// stream raises one event at a time: OnConnect, OnSecure, OnData and OnDrain, OnEnd, OnError,
// OnClose, and OnTimeout at any time between. On Linux an idle stream is a descriptor and a few
// hundred bytes, without a goroutine, buffer or timer. A secure stream adds the state of TLS.
//
// A Server listens on an address of its own, or is a route of a port beside HTTP and WebSocket:
//
//	port.Handle("echo", matchers.Prefix("ECHO"), srv)
//
// # Node's names
//
//	net.createServer(listener), 'connection'   Server, OnConnection
//	server.listen(port, host), (path)          Listen("tcp", "host:port"), Listen("unix", path)
//	server.listenFD(fd)                        ListenFD; ListenOn for any net.Listener
//	'listening'                                Listen has returned nil
//	server.close(), 'close'                    Close, OnClose; Shutdown also ends the streams
//	server.address()                           Addr
//	server.maxConnections, connections         MaxConnections, Connections
//	'error' of the server                      the error of Listen; OnError
//	net.createConnection, stream.connect       Dial on a closed Stream; Open for an open net.Conn
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
// # What differs from Node, on purpose
//
//   - OnEnd can write to the stream even without AllowHalfOpen: the stream ends itself after OnEnd.
//     In Node the stream had ended before, so the echo server of Node's own documentation crashed.
//   - OnClose(true) always follows OnError, also when a name cannot be resolved. Dial returns the
//     error too.
//   - OnTimeout comes again after a byte has come or gone and the stream is idle once more. In Node
//     it came once.
//   - A secure stream that stops without a close_notify may have been cut by an attacker. It gets
//     OnError with io.ErrUnexpectedEOF, and no OnEnd.
//   - Write returns an error, instead of throwing, when the stream has ended. It also returns one
//     when the queue is full, which bounds the memory. While the queue is full the stream is not
//     read, so that an echo to a peer that does not read loses nothing.
//   - WriteString takes text as UTF-8 unless it gets another encoding. No encoding depends on how
//     the network cuts the stream.
//   - OnData gets bytes unless SetEncoding is called. Without OnData the bytes are dropped, as in
//     Node.
//   - OnDrain follows only a Write that has returned false: something is queued. Where there is no
//     epoll every Write returns false, because another goroutine writes.
//   - A second Destroy does nothing, and Connections is never negative. Listen removes a stale Unix
//     socket only if nobody listens on it, and never a file that is not a socket.
//   - Nagle's algorithm is on until SetNoDelay(true), as in Node and unlike elsewhere in Go.
//     Keep-alive probes are on until SetKeepAlive(false), as elsewhere in Go.
//   - A client whose config for SetSecure has a ServerName refuses a certificate for another name.
//     Without a ServerName it accepts any certificate, as in Node: call VerifyPeer before you trust
//     the peer.
package tcp
