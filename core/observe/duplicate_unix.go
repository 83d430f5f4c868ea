//go:build unix

package observe

import (
	"os"
	"strconv"
	"syscall"
)

// duplicate gives another file for what f (stdout or stderr) is. On the original a write to a pipe whose reader is gone
// ends the whole process: the os package raises SIGPIPE for descriptors 1 and 2 only.
func duplicate(f *os.File) (dup *os.File, err error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	conn, err := f.SyscallConn() // Fd would make a description blocking that others may share
	if err != nil {
		return nil, err
	}
	var number int
	if cerr := conn.Control(func(fd uintptr) { number, err = dupFD(fd) }); cerr != nil {
		return nil, cerr
	}
	if err != nil {
		return nil, os.NewSyscallError("dup", err)
	}
	dup = os.NewFile(uintptr(number), f.Name())
	if info.Mode()&os.ModeNamedPipe == 0 {
		return dup, nil
	}
	// A pipe can be opened once more, for a description of our own that may be non-blocking, so that Close can end a
	// write. The one handed to us is shared with other processes, whose writes would begin to fail. Linux only, and not
	// for every owner.
	own, err := os.OpenFile("/proc/self/fd/"+strconv.Itoa(number), os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return dup, nil
	}
	dup.Close()
	return own, nil
}

func dupFD(fd uintptr) (int, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	n, err := syscall.Dup(int(fd))
	if err == nil {
		syscall.CloseOnExec(n)
	}
	return n, err
}
