package identity

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"dongthanh/internal/signed"
	"dongthanh/internal/zone"
)

func TestKeyring(t *testing.T) {
	n := newNetwork(t, "31", 2)
	c, other := n.enlist(t, speaker), n.enlist(t, Node{ID: "client-2", Kind: Client, Zone: "31/11296"})
	trust := NewTrust(n.roots, func() time.Time { return day })
	if err := trust.AddIssuer(n.issuer.Certificate.Raw); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ring := must(OpenKeyring(dir, c))(t)
	// The whole way: sealed for the key in the certificate, signed, verified, opened.
	seal := func(to *Credentials, z zone.Zone, epoch uint32, secret byte) signed.ZoneKey {
		t.Helper()
		key := must(SealingKey(to.Chain[0]))(t)
		e := must(SealZoneKey(to.Node.ID, key, z, epoch, [32]byte{secret}))(t)
		return must(trust.ZoneKey(n.issuer.sign(t, e)))(t)
	}
	holds := func(k *Keyring, z zone.Zone, epoch uint32, secret byte) {
		t.Helper()
		got, ok := k.Secret(z, epoch)
		if ok != (secret != 0) || got != [32]byte{secret} {
			t.Errorf("Secret(%q, %d) = %x, %t, want %x", z, epoch, got[:1], ok, secret)
		}
	}
	for _, z := range []zone.Zone{"31", "31/11296"} {
		if err := ring.Open(seal(c, z, 1, byte(len(z)))); err != nil {
			t.Fatal(err)
		}
		holds(ring, z, 1, byte(len(z)))
	}
	holds(ring, "31", 2, 0)
	holds(ring, "", 1, 0)

	altered := seal(c, "31", 2, 9)
	altered.Sealed[len(altered.Sealed)-1] ^= 1
	renamed := seal(c, "31", 2, 9)
	renamed.Epoch = 3
	moved := seal(c, "31", 2, 9)
	moved.Zone = "31/11296"
	readdressed := seal(other, "31", 2, 9)
	readdressed.Node = c.Node.ID
	short := seal(c, "31", 2, 9)
	short.Sealed = short.Sealed[:10]
	for name, e := range map[string]signed.ZoneKey{
		"for another": seal(other, "31", 2, 9), "for another, readdressed": readdressed, "altered": altered,
		"another epoch": renamed, "another zone": moved, "cut off": short, "a zone elsewhere": seal(c, "31/11407", 2, 9),
		"a zone beneath": seal(c, "31/11296/02", 2, 9),
	} {
		if err := ring.Open(e); !errors.Is(err, ErrEnvelope) {
			t.Errorf("Open(%s) = %v, want ErrEnvelope", name, err)
		}
	}
	holds(ring, "31", 2, 0)

	// The newest epochs stay, whatever the order; the file has them all.
	for _, epoch := range []uint32{3, 2, 5, 4} {
		if err := ring.Open(seal(c, "31", epoch, byte(epoch))); err != nil {
			t.Fatal(err)
		}
	}
	if err := ring.Open(seal(c, "31", 1, 1)); !errors.Is(err, ErrEnvelope) {
		t.Errorf("Open(an epoch long past) = %v, want ErrEnvelope", err)
	}
	info := must(os.Stat(filepath.Join(dir, ringFile)))(t)
	if info.Mode() != 0o600 {
		t.Errorf("the file has mode %s, want -rw-------", info.Mode())
	}
	if err := ring.Open(seal(c, "31", 5, 5)); err != nil { // known: no write
		t.Fatal(err)
	}
	if again := must(os.Stat(filepath.Join(dir, ringFile)))(t); !os.SameFile(info, again) {
		t.Error("a known secret was written again")
	}
	for _, k := range []*Keyring{ring, must(OpenKeyring(dir, c))(t)} {
		holds(k, "31", 1, 0)
		for epoch := uint32(2); epoch <= 5; epoch++ {
			holds(k, "31", epoch, byte(epoch))
		}
		holds(k, "31/11296", 1, 8)
	}
	// A secret that changes (a restored database) is taken over.
	if err := ring.Open(seal(c, "31", 5, 77)); err != nil {
		t.Fatal(err)
	}
	holds(ring, "31", 5, 77)

	// Somebody else in the same folder, a damaged file, one open to others, a disk that is gone.
	holds(must(OpenKeyring(dir, other))(t), "31", 5, 0)
	for _, text := range []string{"", "{", `{"node":"client-1","keys":[{"zone":"//","epoch":1,"secret":"AAAA"},{"zone":"31","epoch":1,"secret":"AAAA"}]}`} {
		if err := WriteFile(dir, ringFile, []byte(text)); err != nil {
			t.Fatal(err)
		}
		holds(must(OpenKeyring(dir, c))(t), "31", 1, 0)
	}
	if err := os.Chmod(filepath.Join(dir, ringFile), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKeyring(dir, c); err == nil {
		t.Error("OpenKeyring with a file open to others = nil, want an error")
	}
	lost := must(OpenKeyring(filepath.Join(dir, "lost"), c))(t)
	if err := os.RemoveAll(filepath.Join(dir, "lost")); err != nil {
		t.Fatal(err)
	}
	if err := lost.Open(seal(c, "31", 1, 1)); err == nil || errors.Is(err, ErrEnvelope) {
		t.Errorf("Open on a lost disk = %v, want the disk's error", err)
	}
	holds(lost, "31", 1, 1) // sound goes on
}

func TestKeyringAtOnce(t *testing.T) {
	n := newNetwork(t, "31", 2)
	c := n.enlist(t, speaker)
	dir := t.TempDir()
	ring := must(OpenKeyring(dir, c))(t)
	var wg sync.WaitGroup
	for epoch := range uint32(epochs) {
		wg.Go(func() {
			e, err := SealZoneKey(c.Node.ID, c.HPKE.PublicKey(), "31", epoch, [32]byte{byte(epoch + 1)})
			if err == nil {
				err = ring.Open(e)
			}
			if err != nil {
				t.Error(err)
			}
			ring.Secret("31", epoch)
		})
	}
	wg.Wait()
	again := must(OpenKeyring(dir, c))(t)
	for epoch := range uint32(epochs) {
		if got, ok := again.Secret("31", epoch); !ok || got[0] != byte(epoch+1) {
			t.Errorf("epoch %d is not on the disk", epoch)
		}
	}
}

// TestTrustZoneKey: an issuer keys its own zones only.
func TestTrustZoneKey(t *testing.T) {
	n := newNetwork(t, "31", 2)
	c := n.enlist(t, speaker)
	trust := NewTrust(n.roots, func() time.Time { return day })
	if err := trust.AddIssuer(n.issuer.Certificate.Raw); err != nil {
		t.Fatal(err)
	}
	e := must(SealZoneKey(c.Node.ID, c.HPKE.PublicKey(), "", 1, [32]byte{1}))(t)
	if _, err := trust.ZoneKey(n.issuer.sign(t, e)); !errors.Is(err, ErrScope) {
		t.Errorf("ZoneKey(of the country) = %v, want ErrScope", err)
	}
	// HPKE goes by the RFC: the envelope is the encapsulated key, 32 bytes, and the secret with its tag.
	if len(e.Sealed) != 32+32+16 {
		t.Errorf("envelope of %d bytes, want 80", len(e.Sealed))
	}
}
