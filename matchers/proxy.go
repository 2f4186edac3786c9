package matchers

// PROXY matches a header of the PROXY protocol, version 1 or 2
// (https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt, sections 2.1 and 2.2).
func PROXY() Matcher { return Prefix("PROXY ", "\r\n\r\n\x00\r\nQUIT\n") }
