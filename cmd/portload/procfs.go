package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// A usage holds what a process has used, and the kernel for it. A field is 0 if it is unknown.
type usage struct {
	CPU     float64 // seconds
	System  float64 // of them in the kernel, to 10 ms
	Waits   int64   // times that a thread gave up the processor
	RSS     int64   // bytes
	Anon    int64   // bytes of RSS that are no file's: heap and stacks
	Threads int64
	Sockets int64 // bytes in socket buffers, of all processes
	Slab    int64 // bytes of kernel objects, of the whole machine
}

// ticks is the kernel's USER_HZ: 100 on every Linux.
const ticks = 100

// cpuOf returns the CPU time of all threads of a process, in seconds, and the part of it in the
// kernel.
func cpuOf(pid int) (all, system float64, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	all, system, err = parseStat(string(b))
	if exact, ok := cpuClock(pid); ok {
		all = exact.Seconds()
	}
	return all, system, err
}

// parseStat finds utime and stime: 14 and 15, counted after the name, which may contain anything.
func parseStat(s string) (all, system float64, err error) {
	fields := strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
	if len(fields) < 13 {
		return 0, 0, errors.New("/proc/PID/stat is too short")
	}
	user, err := strconv.ParseUint(fields[11], 10, 64)
	if err != nil {
		return 0, 0, err
	}
	kernel, err := strconv.ParseUint(fields[12], 10, 64)
	if err != nil {
		return 0, 0, err
	}
	return (float64(user) + float64(kernel)) / ticks, float64(kernel) / ticks, nil
}

// waitsOf returns how often the threads of a process have given up the processor.
func waitsOf(pid int) (sum int64) {
	threads, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid)) // none if it has ended
	for _, t := range threads {
		sum += first(fields(fmt.Sprintf("/proc/%d/task/%s/status", pid, t.Name()))["voluntary_ctxt_switches"])
	}
	return sum
}

// usageOf returns the usage of a process. It fails if there is no such process.
func usageOf(pid int) (u usage, err error) {
	if u.CPU, u.System, err = cpuOf(pid); err != nil {
		return u, fmt.Errorf("--pid %d: %w", pid, err)
	}
	status := fields(fmt.Sprintf("/proc/%d/status", pid))
	u.Threads, u.Waits = first(status["Threads"]), waitsOf(pid)
	u.RSS, u.Anon = kilo(status["VmRSS"]), kilo(status["RssAnon"])
	// This is exact, but only the owner may read it.
	if rollup := fields(fmt.Sprintf("/proc/%d/smaps_rollup", pid)); rollup["Rss"] != nil {
		u.RSS, u.Anon = kilo(rollup["Rss"]), kilo(rollup["Anonymous"])
	}
	u.Sockets = socketBytes(fields("/proc/net/sockstat"))
	u.Slab = kilo(fields("/proc/meminfo")["Slab"])
	return u, nil
}

// socketBytes returns the memory of TCP buffers. The kernel counts IPv4 and IPv6 together.
func socketBytes(sockstat map[string][]string) int64 {
	words := sockstat["TCP"]
	for i := 0; i+1 < len(words); i += 2 {
		if words[i] == "mem" {
			return first(words[i+1:]) * int64(os.Getpagesize())
		}
	}
	return 0
}

// fields reads a file of lines "name: word...".
func fields(path string) map[string][]string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	all := map[string][]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, rest, ok := strings.Cut(lines.Text(), ":")
		if ok {
			all[name] = strings.Fields(rest)
		}
	}
	return all
}

// first returns the number in the first word; 0 if there is none.
func first(words []string) int64 {
	if len(words) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(words[0], 10, 64) // the kernel writes numbers
	return n
}

func kilo(words []string) int64 { return first(words) << 10 }
