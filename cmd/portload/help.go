package main

import "github.com/spf13/cobra"

// newJSON returns the help topic about the fields of reports.
func newJSON() *cobra.Command {
	return &cobra.Command{
		Use:   "json",
		Short: "The fields of a report of --json",
		Long: `With --json a report is one object on one line. Times are in seconds, sizes in bytes. A field that is not known is 0
or absent. Rates with no --pid, and all of "server", are absent.

every report
  command, addr, proto    as on the command line
  processes               of portload: more connections than --files need several
  seconds                 the measured time: until the last echo or delivery, without connecting (but for conn and idle)
  interrupted             true after Ctrl-C
  failed, error           connections or messages that failed, and the first reason
  client_cpu_seconds      CPU time of portload, all of its processes
  server                  with --pid, during the measured time:
    cpu_seconds           CPU time; on Linux to the nanosecond
    system_seconds        the part of it in the kernel, to 10 ms
    waits                 times that a thread of it gave up the processor to wait
    rss_before, rss_after    resident memory
    heap_before, heap_after  the part of it that is no file's
    threads               at the end
    gone                  true if it ended

conn, echo, fanout
  connections             conn: made, with their echo
  clients                 echo: connected
  messages                echo: echoes that came
  per_second              connections, messages or deliveries
  per_server_cpu_second   likewise, with --pid
  latency_seconds         p50, p90, p99, p999 (of 99.9 %), max: at most 3 % too high

echo with --rate
  rate_asked              messages a second
  rate_reached            echoes a second
  unsent                  messages that were due and were not sent within --time; the latency has the time they waited

fanout
  members                 connected at the end, without those of --stuck
  published, deliveries   messages sent, and received by members
  lost, gaps              messages that members did not get, and in how many rows
  doubled, late           messages that came twice, or after a later one
  disconnected, missed    members that the server disconnected, and messages after that
  stuck_disconnected      members of --stuck that it disconnected; not counted with --rounds
  stalls                  times that a member did not have a message within --timeout

idle
  conns, closed           connections at the end, and closed by the server
  opened_per_second
  idle_seconds, idle_cpu_seconds   how long they were held, and the server's CPU time then
  points                  with --pid, what the server used; "at" is start, from, conns, held, burst or settled:
    at, conns, rss, heap, sockets, slab, threads, cpu_seconds
  per_conn                what one more costs, between from and conns: rss, heap, sockets, slab
  burst_per_conn          what each needs more after its burst than when it was held
  settled_per_conn        likewise, after --settle`,
	}
}
