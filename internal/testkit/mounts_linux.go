package testkit

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// RunApart runs cmd to its end as root of namespaces of its own, where it can mount disks that nobody else sees. Where the
// machine grants none the test is skipped; a failure of cmd is the test's.
func RunApart(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	if err := cmd.Start(); err != nil {
		if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) { // a container or chroot: nothing to install
			t.Skip("no user namespaces here:", err)
		}
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
