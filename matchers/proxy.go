package matchers

// PROXY matches the header of a proxy, in version 1 or 2 of the PROXY protocol
// (https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt, sections 2.1 and 2.2).
func PROXY() Matcher { return Prefix("PROXY ", "\r\n\r\n\x00\r\nQUIT\n") }
