package health

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"
)

// Notifier tells the service manager, systemd, how the program is (sd_notify(3)): that it is ready, that it lives, and
// that it is ending. Where no service manager asks for it, it does nothing.
type Notifier struct {
	socket string
	every  time.Duration // of the watchdog; 0: there is none
	alive  func() error
	log    *slog.Logger
}

// NewNotifier reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID by getenv; pid is the program's own. alive says why the
// program hangs, nil if it does not: Server.Alive.
func NewNotifier(getenv func(string) string, pid int, alive func() error, log *slog.Logger) *Notifier {
	n := &Notifier{socket: getenv("NOTIFY_SOCKET"), alive: alive, log: log}
	if us, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64); err == nil && us > 0 {
		if p := getenv("WATCHDOG_PID"); p == "" || p == strconv.Itoa(pid) {
			n.every = time.Duration(us) * time.Microsecond / 3 // one may be lost
		}
	}
	return n
}

// Run says that the program is ready, feeds the watchdog as long as it is alive, and says that it is stopping when ctx
// ends; it returns nil then. It must be called when every port is bound.
func (n *Notifier) Run(ctx context.Context) error {
	if n.socket == "" {
		<-ctx.Done()
		return nil
	}
	n.tell("READY=1")
	defer n.tell("STOPPING=1")
	if n.every == 0 {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(n.every)
	defer tick.Stop()
	hung := false
	for {
		err := n.alive()
		if err == nil {
			n.tell("WATCHDOG=1")
		} else if !hung {
			n.log.Error("the watchdog is not fed: a part of the program hangs", "error", err)
			n.tell("STATUS=hangs: " + oneLine(err.Error()))
		}
		hung = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// tell sends one message; a manager that is away is none of our business.
func (n *Notifier) tell(message string) {
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"}) // a first @ is the abstract name
	if err != nil {
		n.log.Warn("the service manager is not told", "error", err)
		return
	}
	defer c.Close()
	if _, err := c.Write([]byte(message)); err != nil {
		n.log.Warn("the service manager is not told", "error", err)
	}
}

// Pulse is a sign of life of one loop that must come to its turn again and again.
type Pulse struct {
	name  string
	limit time.Duration

	mu   sync.Mutex // guards last
	last time.Time
}

// Beat says that the loop has come to its turn.
func (p *Pulse) Beat() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = time.Now()
}

// fault says why the loop hangs.
func (p *Pulse) fault(now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d := now.Sub(p.last); d > p.limit {
		return fmt.Errorf("%s has not come to its turn for %v", p.name, d.Round(time.Second))
	}
	return nil
}
