package alsa

/*
#cgo pkg-config: alsa
#include <alsa/asoundlib.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>

// What libasound has to say goes to standard error by default. It is kept instead, for the error of the same call.
static _Thread_local char said[256];

static void hear(const char *file, int line, const char *function, int err, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(said, sizeof said, format, args);
	va_end(args);
}

static int open_pcm(snd_pcm_t **pcm, const char *name, char *why, size_t size)
{
	int err;
	snd_lib_error_set_handler(hear);
	// The configuration depends on what runs (a sound server, say) and is kept from the first call on: read it anew.
	snd_config_update_free_global();
	said[0] = 0;
	err = snd_pcm_open(pcm, name, SND_PCM_STREAM_PLAYBACK, SND_PCM_NONBLOCK);
	snprintf(why, size, "%s", said);
	return err;
}

// TRY names what is set and returns when it is refused.
#define TRY(name, call) do { int err = (call); if (err < 0) { *what = (name); return err; } } while (0)

// configure wishes for *buffer and *period, in frames, and leaves there what was granted.
static int configure(snd_pcm_t *pcm, unsigned channels, unsigned rate, snd_pcm_uframes_t *buffer, snd_pcm_uframes_t *period, const char **what)
{
	snd_pcm_hw_params_t *hw;
	snd_pcm_sw_params_t *sw;
	snd_pcm_uframes_t boundary;
	snd_pcm_hw_params_alloca(&hw);
	snd_pcm_sw_params_alloca(&sw);
	TRY("anything", snd_pcm_hw_params_any(pcm, hw));
	TRY("interleaved access", snd_pcm_hw_params_set_access(pcm, hw, SND_PCM_ACCESS_RW_INTERLEAVED));
	TRY("samples of 16 bits", snd_pcm_hw_params_set_format(pcm, hw, SND_PCM_FORMAT_S16));
	TRY("the number of channels", snd_pcm_hw_params_set_channels(pcm, hw, channels));
	TRY("the sample rate", snd_pcm_hw_params_set_rate(pcm, hw, rate, 0));
	TRY("the period", snd_pcm_hw_params_set_period_size_near(pcm, hw, period, NULL));
	TRY("the buffer", snd_pcm_hw_params_set_buffer_size_near(pcm, hw, buffer));
	TRY("all of it together", snd_pcm_hw_params(pcm, hw));
	TRY("the period", snd_pcm_hw_params_get_period_size(hw, period, NULL));
	TRY("the buffer", snd_pcm_hw_params_get_buffer_size(hw, buffer));
	TRY("software parameters", snd_pcm_sw_params_current(pcm, sw));
	TRY("software parameters", snd_pcm_sw_params_get_boundary(sw, &boundary));
	TRY("a start by hand", snd_pcm_sw_params_set_start_threshold(pcm, sw, boundary));
	// Half a period: the pulse plugin may leave one frame less than a period free, and would not wake us until it is dry.
	TRY("the moment to wake up", snd_pcm_sw_params_set_avail_min(pcm, sw, *period / 2));
	TRY("timestamps", snd_pcm_sw_params_set_tstamp_mode(pcm, sw, SND_PCM_TSTAMP_ENABLE));
	TRY("the clock of timestamps", snd_pcm_sw_params_set_tstamp_type(pcm, sw, SND_PCM_TSTAMP_TYPE_MONOTONIC));
	TRY("software parameters", snd_pcm_sw_params(pcm, sw));
	return 0;
}

// status tells the state, the room and the delay in frames, and how many ns ago they were so; 0 where the driver does
// not stamp them by CLOCK_MONOTONIC.
static int status(snd_pcm_t *pcm, int *state, long *avail, long *delay, long long *age)
{
	snd_pcm_status_t *s;
	snd_htimestamp_t then;
	struct timespec now;
	int err;
	snd_pcm_status_alloca(&s);
	if ((err = snd_pcm_status(pcm, s)) < 0)
		return err;
	*state = snd_pcm_status_get_state(s);
	*avail = snd_pcm_status_get_avail(s);
	*delay = snd_pcm_status_get_delay(s);
	snd_pcm_status_get_htstamp(s, &then);
	clock_gettime(CLOCK_MONOTONIC, &now);
	*age = (now.tv_sec - then.tv_sec) * 1000000000LL + (now.tv_nsec - then.tv_nsec);
	if (*age < 0 || *age > 1000000000LL)
		*age = 0;
	return 0;
}
*/
import "C"

import (
	"fmt"
	"syscall"
	"time"
	"unsafe"
)

// PCM is an open PCM to play to. Its methods are for one goroutine at a time, and none after Close.
type PCM struct {
	handle   *C.snd_pcm_t
	channels int
}

// fault turns libasound's result into an error, nil if it is none. Negative results are errno values: EPIPE is an
// underrun, ESTRPIPE a suspension, ENODEV a card that is gone.
func fault(result C.long) error {
	if result >= 0 {
		return nil
	}
	return syscall.Errno(-result)
}

// Urgent asks the system to let the calling thread go first, as sound servers do with theirs. It needs a right (Linux:
// RLIMIT_NICE or CAP_SYS_NICE), and tells whether it has it.
func Urgent() bool { return C.setpriority(C.PRIO_PROCESS, 0, -11) == 0 } // of one thread on Linux

// Open opens the PCM of that name without waiting for a card that is taken: that is EBUSY. The error holds an errno,
// and what libasound says about it.
func Open(name string) (*PCM, error) {
	var handle *C.snd_pcm_t
	var why [256]C.char
	text := C.CString(name)
	defer C.free(unsafe.Pointer(text))
	if err := fault(C.long(C.open_pcm(&handle, text, &why[0], C.size_t(len(why))))); err != nil {
		if said := C.GoString(&why[0]); said != "" {
			return nil, fmt.Errorf("%w (%s)", err, said)
		}
		return nil, err
	}
	return &PCM{handle: handle}, nil
}

// Configure sets 16-bit samples of that many channels at exactly that rate, and makes the PCM ready to be written to;
// it never starts by itself. buffer and period are frames wished for; the buffer that was granted is returned. After a
// refusal it may be called again.
func (p *PCM) Configure(rate, channels, buffer, period int) (granted int, err error) {
	b, s := C.snd_pcm_uframes_t(buffer), C.snd_pcm_uframes_t(period)
	var what *C.char
	if err := fault(C.long(C.configure(p.handle, C.uint(channels), C.uint(rate), &b, &s, &what))); err != nil {
		return 0, fmt.Errorf("set %s: %w", C.GoString(what), err)
	}
	p.channels = channels
	return int(b), nil
}

// Write hands over frames, interleaved, and returns how many were taken, without waiting; EAGAIN if none.
func (p *PCM) Write(pcm []int16) (frames int, err error) {
	if len(pcm) == 0 {
		return 0, nil
	}
	n := C.snd_pcm_writei(p.handle, unsafe.Pointer(&pcm[0]), C.snd_pcm_uframes_t(len(pcm)/p.channels))
	return int(max(n, 0)), fault(n)
}

// Wait waits until half a period can be written, for that long at most. The error tells a fault, never that time is
// over.
func (p *PCM) Wait(most time.Duration) error {
	return fault(C.long(C.snd_pcm_wait(p.handle, C.int(most.Milliseconds()))))
}

// Status tells where the PCM is.
func (p *PCM) Status() (Status, error) {
	var state C.int
	var avail, delay C.long
	var age C.longlong
	if err := fault(C.long(C.status(p.handle, &state, &avail, &delay, &age))); err != nil {
		return Status{}, err
	}
	return Status{State(state), int(avail), int(delay), time.Duration(age)}, nil
}

// Start begins to play what was written.
func (p *PCM) Start() error { return fault(C.long(C.snd_pcm_start(p.handle))) }

// Restart forgets what was written and makes the PCM ready to be written to, whatever state it is in.
func (p *PCM) Restart() error {
	C.snd_pcm_drop(p.handle) // fails where there is nothing to drop
	return fault(C.long(C.snd_pcm_prepare(p.handle)))
}

// Close gives the PCM back.
func (p *PCM) Close() { C.snd_pcm_close(p.handle) }
