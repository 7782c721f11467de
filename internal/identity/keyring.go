package identity

import (
	"crypto/ecdh"
	"crypto/hpke"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"sync"

	"dongthanh/internal/signed"
	"dongthanh/internal/zone"
)

const (
	ringFile = "zonekeys.json"

	// epochs is how many of a zone are kept, the newest: the one before, the one in force and the next (DESIGN §4), and
	// one more, since a revocation skips an epoch that was handed out and the one in force is not known here.
	epochs = 4
)

// Keyring holds a node's zone secrets, in memory and on disk, so that a loudspeaker that comes back hears at once. Safe
// for concurrent use; Secret never waits for the disk.
type Keyring struct {
	dir string
	key *ecdh.PrivateKey

	writing sync.Mutex // held while one is added; taken before mu

	mu      sync.RWMutex // guards what follows, held for a moment only
	node    Node
	secrets map[zone.Zone]map[uint32][32]byte
}

// ring is the file's form.
type ring struct {
	Node string      `json:"node"`
	Keys []ringEntry `json:"keys"`
}

type ringEntry struct {
	Zone   zone.Zone `json:"zone"`
	Epoch  uint32    `json:"epoch"`
	Secret []byte    `json:"secret"`
}

// OpenKeyring reads dir/zonekeys.json. Where there is none, where it belongs to another node (this one was enrolled
// anew) or where it cannot be understood, the keyring starts empty: the upstream hands the secrets out again.
func OpenKeyring(dir string, c *Credentials) (*Keyring, error) {
	if err := MakeDir(dir); err != nil {
		return nil, fmt.Errorf("open keyring in %s: %w", dir, err)
	}
	k := &Keyring{dir: dir, node: c.Node, key: c.HPKE, secrets: make(map[zone.Zone]map[uint32][32]byte)}
	data, err := readFile(filepath.Join(dir, ringFile), true)
	if errors.Is(err, fs.ErrNotExist) {
		return k, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open keyring: %w", err)
	}
	var r ring
	if json.Unmarshal(data, &r) != nil || r.Node != c.Node.ID {
		return k, nil
	}
	for _, e := range r.Keys {
		if z, err := zone.Parse(string(e.Zone)); err == nil && z.Contains(k.node.Zone) && len(e.Secret) == 32 {
			k.secrets[z] = with(k.secrets[z], e.Epoch, [32]byte(e.Secret))
		}
	}
	return k, nil
}

// Open opens an envelope whose signature was verified (Trust.ZoneKey) and keeps the secret, which is on the disk when
// it returns; one that is known costs nothing. ErrEnvelope: it is for another node, for a zone that this node does not
// lie in, older than the epochs kept, or cannot be opened. If the disk fails the secret is kept in memory and the error
// says so.
func (k *Keyring) Open(e signed.ZoneKey) error {
	k.mu.RLock()
	n := k.node
	k.mu.RUnlock()
	if e.Node != n.ID || !e.Zone.Contains(n.Zone) {
		return fmt.Errorf("open key of zone %q for %q: %w: this is %q in zone %q", e.Zone, e.Node, ErrEnvelope, n.ID, n.Zone)
	}
	key, err := hpke.NewDHKEMPrivateKey(k.key)
	if err != nil {
		return fmt.Errorf("open key of zone %q: %w", e.Zone, err)
	}
	plain, err := hpke.Open(key, hpke.HKDFSHA256(), hpke.AES128GCM(), e.HPKEInfo(), e.Sealed)
	if err != nil || len(plain) != 32 {
		return fmt.Errorf("open key of zone %q epoch %d: %w", e.Zone, e.Epoch, ErrEnvelope)
	}
	secret := [32]byte(plain)
	k.writing.Lock()
	defer k.writing.Unlock()
	old, known := k.Secret(e.Zone, e.Epoch)
	if known && old == secret {
		return nil
	}
	k.mu.Lock()
	changed := with(maps.Clone(k.secrets[e.Zone]), e.Epoch, secret)
	_, kept := changed[e.Epoch]
	k.secrets[e.Zone] = changed
	k.mu.Unlock()
	if !kept {
		return fmt.Errorf("open key of zone %q: %w: epoch %d is past", e.Zone, ErrEnvelope, e.Epoch)
	}
	return k.save()
}

// Move says who the node is from now on; the secrets of zones that it does not lie in are forgotten, on the disk with the
// next that is opened.
func (k *Keyring) Move(n Node) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.node = n
	maps.DeleteFunc(k.secrets, func(z zone.Zone, _ map[uint32][32]byte) bool { return !z.Contains(n.Zone) })
}

// with adds a secret and drops all but the newest epochs.
func with(m map[uint32][32]byte, epoch uint32, secret [32]byte) map[uint32][32]byte {
	if m == nil {
		m = make(map[uint32][32]byte)
	}
	m[epoch] = secret
	if len(m) > epochs {
		delete(m, slices.Min(slices.Collect(maps.Keys(m))))
	}
	return m
}

// Secret returns a zone's secret in an epoch, if this node has it.
func (k *Keyring) Secret(z zone.Zone, epoch uint32) ([32]byte, bool) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	s, ok := k.secrets[z][epoch]
	return s, ok
}

// save writes the file. The caller holds writing.
func (k *Keyring) save() error {
	k.mu.RLock()
	r := ring{Node: k.node.ID}
	for _, z := range slices.Sorted(maps.Keys(k.secrets)) {
		for _, e := range slices.Sorted(maps.Keys(k.secrets[z])) {
			secret := k.secrets[z][e]
			r.Keys = append(r.Keys, ringEntry{Zone: z, Epoch: e, Secret: secret[:]})
		}
	}
	k.mu.RUnlock()
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode keyring: %w", err)
	}
	if err := WriteFile(k.dir, ringFile, data); err != nil {
		return fmt.Errorf("save keyring in %s (it holds until a restart): %w", k.dir, err)
	}
	return nil
}

// SealZoneKey makes the envelope that Keyring.Open opens, ready to be signed by an issuer. sealing is the node's key
// (SealingKey).
func SealZoneKey(node string, sealing *ecdh.PublicKey, z zone.Zone, epoch uint32, secret [32]byte) (signed.ZoneKey, error) {
	e := signed.ZoneKey{Version: 1, Node: node, Zone: z, Epoch: epoch}
	key, err := hpke.NewDHKEMPublicKey(sealing)
	if err != nil {
		return signed.ZoneKey{}, fmt.Errorf("seal key of zone %q for %q: %w", z, node, err)
	}
	e.Sealed, err = hpke.Seal(key, hpke.HKDFSHA256(), hpke.AES128GCM(), e.HPKEInfo(), secret[:])
	if err != nil {
		return signed.ZoneKey{}, fmt.Errorf("seal key of zone %q for %q: %w", z, node, err)
	}
	return e, nil
}
