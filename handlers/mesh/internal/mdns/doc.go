// Package mdns announces one instance of a service by multicast DNS, and finds the other instances
// of that service: a responder (RFC 6762) and a browser for DNS service discovery (RFC 6763) that
// need no daemon. It shares port 5353 with avahi or Bonjour, if the machine has one.
//
//	err := mdns.Run(ctx, mdns.Config{
//		Service: "_chat._tcp", Instance: "0A1B", Host: "chat-0a1b",
//		Addr: listenAddr, Rescan: 5 * time.Second,
//	}, mdns.Events{
//		Ready:  func() { log.Print("announced") },
//		Found:  func(i mdns.Instance) { log.Print(i.Name, i.Addrs) },
//		Failed: func(err error) { log.Print(err) },
//	})
//
// [Run] has one goroutine that owns all state, and two for each network interface that read
// packets. It keeps at most 1,024 instances with 16 addresses each, whatever others send.
//
// # RFC 6762
//
//	section  what the package does
//	3        announces names in the domain local; the host's name is the caller's, and random
//	4        no reverse mapping of addresses: nobody asks for it
//	5.1      sends no one-shot queries, and answers those of others (6.7)
//	5.2      queries after 20 to 120 ms, then after 1, 2, 4, 8 and 16 s, then every 30 to 60 s.
//	         The RFC doubles the interval up to an hour: two networks that a switch joins, which no
//	         interface notices, would find each other as late. Asks again for records that end soon.
//	5.3      puts up to 10 questions into a message
//	5.4      never asks for a unicast answer (QU), as the socket is bound to the group; answers QU
//	         questions by multicast
//	5.5      ignores direct unicast queries
//	6        answers questions for the PTR after 20 to 120 ms, others at once, and at most once a
//	         second on a link, but for probes; ignores responses from other ports than 5353
//	6.1      sends no negative responses (NSEC)
//	6.2      puts all records of the instance into each response
//	6.3-6.5  answers messages with many questions, in one message, and questions for ANY
//	6.6      announces again when another host's response has its PTR with little time left
//	6.7      answers legacy queries, up to four questions of each, by unicast
//	7.1      sends known answers; does not answer if its PTR is one
//	7.2      waits 400 to 500 ms after a truncated query for more known answers; sends such queries
//	7.3      does not suppress questions that another host has asked
//	7.4      does not list the service if another host has
//	8.1      probes three times for the instance when Run begins, not on each new link
//	8.2      compares SRV records in simultaneous probes
//	8.3-8.4  announces twice, a second apart, and again when addresses change
//	9        reports a conflict and announces again, but keeps the name, which is the identity
//	10       has TTLs of 75 minutes, and of 120 seconds for SRV and addresses
//	10.1     says goodbye twice. A goodbye of another instance counts at once, not after a second, so
//	         that nobody dials it; an announcement within the second brings it back.
//	10.2     sets the cache-flush bit of unique records, and obeys that of addresses
//	10.3     forgets addresses that came over an interface that is gone
//	10.4-10.5 does not verify records that seem wrong
//	11       ignores packets to an address, which may come from beyond the link; sends with a TTL of
//	         255
//	14       treats each interface apart; the same names are announced on all
//	15       shares the port with other responders of the machine
//	16       compares names without regard to the case of ASCII letters
//	17       sends at most 1,400 bytes, but reads 9,000
//	18       ignores messages with an opcode or a response code, and all that 18 has it ignore
//	20       sends each message over IPv4 and IPv6, to ff02::fb
//
// # RFC 6763
//
//	section  what the package does
//	4        names and enumerates instances, in the domain local only
//	5        has one SRV, of priority and weight 0
//	6        has a TXT with one empty string
//	7        uses the name of the service as it is given; no subtypes
//	8        no flagship names
//	9        answers the enumeration of service types
//	10, 11   no domains but local, so nothing to enumerate or populate
//	12       has SRV, TXT and addresses in the answer to a PTR, as additional records of a legacy one
package mdns
