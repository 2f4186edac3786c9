package alldata

import (
	"encoding/binary"
	"hash/crc32"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum returns the checksum of an event and its key.
func checksum(key string, event []byte) uint32 {
	return crc32.Update(crc32.Checksum([]byte(key), castagnoli), castagnoli, event)
}

// sealSize is the number of bytes that a seal adds to an event.
const sealSize = 4

// seal returns an event with its checksum in front, as the file has it.
func seal(key string, event []byte) []byte {
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, sealSize+len(event)), checksum(key, event)), event...)
}

// unseal verifies the checksum of a sealed event and returns the event, which shares its memory.
func unseal(key string, sealed []byte) ([]byte, error) {
	if len(sealed) < sealSize || binary.BigEndian.Uint32(sealed) != checksum(key, sealed[sealSize:]) {
		return nil, errSeal(key)
	}
	return sealed[sealSize:], nil
}

func errSeal(key string) error { return damaged("the event of %.100q has another checksum", key) }
