package alsa

/*
#include <alsa/asoundlib.h>
#include <stdlib.h>
*/
import "C"

import (
	"unsafe"
)

// Names lists the PCMs that can be played to, in libasound's order.
func Names() ([]Name, error) {
	kind := C.CString("pcm")
	defer C.free(unsafe.Pointer(kind))
	var hints *unsafe.Pointer
	if err := fault(C.long(C.snd_device_name_hint(-1, kind, &hints))); err != nil {
		return nil, err
	}
	defer C.snd_device_name_free_hint(hints)
	var all []Name
	for h := hints; *h != nil; h = (*unsafe.Pointer)(unsafe.Add(unsafe.Pointer(h), unsafe.Sizeof(*h))) {
		if hint(*h, "IOID") != "Input" {
			all = append(all, Name{Name: hint(*h, "NAME"), About: hint(*h, "DESC")})
		}
	}
	return all, nil
}

// hint returns one field of a hint; empty if it has none.
func hint(h unsafe.Pointer, field string) string {
	id := C.CString(field)
	defer C.free(unsafe.Pointer(id))
	text := C.snd_device_name_get_hint(h, id)
	defer C.free(unsafe.Pointer(text))
	return C.GoString(text)
}
