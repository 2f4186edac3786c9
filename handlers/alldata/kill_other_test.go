//go:build !linux

package alldata

func childFull(*Store)  {}
func childShort(*Store) {}
func childSync(*Store)  {}
