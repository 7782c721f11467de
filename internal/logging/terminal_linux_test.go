package logging

import (
	"bufio"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

func TestNewOnATerminal(t *testing.T) {
	for _, tc := range hostile {
		t.Run(tc.name, func(t *testing.T) {
			line := onTerminal(t, func(log *slog.Logger) {
				log.Info(tc.text, tc.text, tc.text, "error", errors.New(tc.text), "bytes", []byte(tc.text))
			})
			wantVisible(t, line)
			if !strings.HasPrefix(line, "time=") {
				t.Errorf("line = %q, want text, not JSON", line)
			}
		})
	}
}

// onTerminal returns the first line that use wrote to a logger on a real pseudo-terminal.
func onTerminal(t *testing.T, use func(*slog.Logger)) string {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminal here: %v", err)
	}
	defer master.Close()
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatalf("unlock pseudo-terminal: %v", err)
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatalf("ask pseudo-terminal for its number: %v", err)
	}
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatalf("open terminal: %v", err)
	}
	defer terminal.Close()
	if _, err := term.MakeRaw(int(terminal.Fd())); err != nil { // or it would turn \n into \r\n
		t.Fatalf("make terminal raw: %v", err)
	}
	use(New(terminal, slog.LevelInfo))
	line, err := bufio.NewReader(master).ReadString('\n')
	if err != nil {
		t.Fatalf("read from terminal: %v", err)
	}
	return line
}
