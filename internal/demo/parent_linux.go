package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// parentPoll is how often the parent is looked at: two small files of /proc, some 30 µs.
const parentPoll = 100 * time.Millisecond

// parentGone watches the GNU make that started this process. It sends why make is ending or gone,
// once, and then closes the channel; when ctx ends first it only closes it. Call it first of all
// in main: a make that was killed before the call cannot be told from none.
//
// A terminal's Ctrl-C goes to every process of the group, but a signal can also be sent to make
// alone. GNU make passes SIGTERM on to its children; on SIGINT, SIGHUP and SIGQUIT it waits for
// them without telling them, and SIGKILL it cannot even see. What it does show: its handler first
// resets the signal to its default action, and the kernel blocks that signal while the handler
// waits, so that in /proc/PID/status the signal is blocked, but neither caught nor ignored. At no
// other time is that so, since make installs its handlers at the start, and blocks the signals
// only for moments, with the handlers in place.
//
// If the parent is not make (a shell, a test, an init system), nothing is watched: who started
// this process by hand ends it by hand.
func parentGone(ctx context.Context) <-chan string {
	parent := os.Getppid()
	gone := make(chan string, 1)
	go func() {
		defer close(gone)
		if !isMake(parent) {
			<-ctx.Done()
			return
		}
		tick := time.NewTicker(parentPoll)
		defer tick.Stop()
		for {
			if os.Getppid() != parent {
				gone <- fmt.Sprintf("make (pid %d) is gone", parent)
				return
			}
			if s := endingBy(readStatus(parent)); s != 0 {
				gone <- fmt.Sprintf("make (pid %d) received signal %d (%v)", parent, s, s)
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return gone
}

// isMake reports whether pid is a GNU make by its name.
func isMake(pid int) bool {
	name := strings.TrimSpace(readProc(pid, "comm"))
	return name == "make" || name == "gmake"
}

// readStatus returns /proc/PID/status; empty if the process is gone.
func readStatus(pid int) string { return readProc(pid, "status") }

// readProc returns a file of /proc/PID; empty if it cannot be read.
func readProc(pid int, file string) string {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/" + file)
	if err != nil {
		return ""
	}
	return string(b)
}

// endingBy returns the signal whose handler is running in a make with that /proc status, or 0.
func endingBy(status string) syscall.Signal {
	masks := map[string]uint64{}
	for line := range strings.Lines(status) {
		name, value, _ := strings.Cut(line, ":")
		if strings.HasPrefix(name, "Sig") {
			if mask, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64); err == nil {
				masks[name] = mask // bit 0 is signal 1
			}
		}
	}
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGTERM} {
		bit := uint64(1) << (s - 1)
		if masks["SigBlk"]&bit != 0 && (masks["SigCgt"]|masks["SigIgn"])&bit == 0 {
			return s
		}
	}
	return 0
}
