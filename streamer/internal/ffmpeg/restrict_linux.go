package ffmpeg

import (
	"errors"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"
)

const (
	memoryBytes = 1 << 30 // of addresses: Debian's ffmpeg maps some 400 MB of libraries
	openFiles   = 64
	niceness    = 10 // what is on air goes first
)

// restrict bounds a process that has just begun; it counts what it used before, too. It can write no file.
func restrict(pid int, cpu time.Duration, log *slog.Logger) {
	err := unix.Setpriority(unix.PRIO_PROCESS, pid, niceness)
	for resource, most := range map[int]uint64{
		unix.RLIMIT_CPU: uint64(cpu.Seconds()), unix.RLIMIT_AS: memoryBytes, unix.RLIMIT_NOFILE: openFiles,
		unix.RLIMIT_FSIZE: 0, unix.RLIMIT_CORE: 0,
	} {
		err = errors.Join(err, unix.Prlimit(pid, resource, &unix.Rlimit{Cur: most, Max: most}, nil))
	}
	if err != nil && !errors.Is(err, unix.ESRCH) { // it may have ended already
		log.Warn("ffmpeg runs without limits", "err", err)
	}
}
