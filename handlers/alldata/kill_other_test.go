//go:build !linux

package alldata

func childFull(*Store) {}
func childSync(*Store) {}
